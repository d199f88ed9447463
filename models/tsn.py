"""TSN: one 2D network on every sampled frame, and the average of their class scores.

Wang et al., Temporal Segment Networks: Towards Good Practices for Deep Action Recognition, ECCV
2016 (arXiv 1608.00859). One frame from each of T equal segments; the segmental consensus is the
mean of the scores before the softmax. No layer sees more than one frame, so the logits do not
depend on the order of the frames. Dropout 0.5 and the normal(0, 0.001) classifier are those of the
authors' code.

Axes: B clips, C channels, T frames, H rows, W columns.
"""

from torch import Tensor, nn

from models.resnet import BlockPlan, VideoResNet, get_architecture, plain_block


class FrameConsensusResNet(VideoResNet):
    """A ResNet whose head classifies every frame and averages the scores.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES`.
        num_classes: Width of the logits.
        block_parts: From the indices of stage and block to what is replaced there.
        dropout: Probability of dropping a feature before the classifier.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        block_parts: BlockPlan = plain_block,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(
            get_architecture(arch), num_classes, classifier_std=0.001, block_parts=block_parts
        )
        self.dropout = nn.Dropout(dropout)

    def forward_head(self, features: Tensor) -> Tensor:
        """Score every frame, average the scores: (B, C, T, H, W) to (B, num_classes)."""
        pooled = features.mean((3, 4)).transpose(1, 2)  # (B, T, C)
        scores: Tensor = self.fc(self.dropout(pooled))  # (B, T, num_classes)
        return scores.mean(1)


class TSN(FrameConsensusResNet):
    """Temporal segment network on RGB frames.

    Args:
        arch: Key of `models.resnet.ARCHITECTURES`.
        num_classes: Width of the logits.
        dropout: Probability of dropping a feature before the classifier.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(self, arch: str, num_classes: int, *, dropout: float = 0.5) -> None:
        super().__init__(arch, num_classes, dropout=dropout)
