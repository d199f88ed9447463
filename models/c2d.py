"""C2D: the spatial baseline of the CoST paper, and the trunk that C3D and CoST build on.

Li et al., Collaborative Spatiotemporal Feature Learning for Video Action Recognition, CVPR 2019
(arXiv 1903.01197), table 1 and figure 3(a). Every convolution sees one frame; frames meet only in
`pool2`, which halves T after the first stage, and in the average before the classifier.

What the paper leaves open follows the authors' release: dropout 0.5, a normal(0, 0.01) classifier,
and by default its pooling windows. Departure: `c2d_r18` and `c2d_r34` use basic blocks, which the
paper does not have.

Axes: B clips, C channels, T frames, H rows, W columns.
"""

from typing import Literal, get_args

from torch import Tensor, nn

from models.layers import TemporalMaxPool, check_choice
from models.resnet import (
    Architecture,
    BlockParts,
    BlockPlan,
    Bottleneck,
    VideoResNet,
    get_architecture,
    plain_block,
)

Pools = Literal["released", "paper"]
Stem = Literal["8_frames", "32_frames"]


class PooledResNet(VideoResNet):
    """The trunk of table 1: a ResNet with `pool2` after the first stage and one global average.

    Shapes for R50 and (B, 3, 8, 224, 224): stem (B, 64, 8, 56, 56), layer1 (B, 256, 8, 56, 56),
    pool2 (B, 256, 4, 56, 56), features (B, 2048, 4, 7, 7). With `stem="32_frames"` and 32 frames
    every shape from layer1 on is the same.

    Args:
        architecture: Depth and width.
        num_classes: Width of the logits.
        block_parts: From the indices of stage and block to what is replaced there.
        pools: Pooling windows (T, H, W). "released": 1x3x3 then 2x1x1, as in the authors' code;
            "paper": 3x3x3 then 3x1x1, as printed. For an even T, output sizes are equal; of an odd
            one, the released pool2 drops the last frame (T // 2) and the paper's keeps it.
        stem: "8_frames": a 1x7x7 convolution that keeps T. "32_frames": 5x7x7 and a 2x3x3
            pooling, each halving T (authors' code), for clips of 32 frames; 7 at least.
        dropout: Probability of dropping a feature before the classifier.

    Raises:
        ValueError: An argument is out of its range, or stem="32_frames" with pools="paper"; on the
            call, when the clip has too few frames to be pooled.
    """

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int,
        *,
        block_parts: BlockPlan = plain_block,
        pools: Pools = "released",
        stem: Stem = "8_frames",
        dropout: float = 0.5,
    ) -> None:
        check_choice("pools", pools, get_args(Pools))
        check_choice("stem", stem, get_args(Stem))
        if stem == "32_frames" and pools == "paper":
            raise ValueError(
                "pools is 'paper' and stem is '32_frames', but the paper prints no 32-frame stem; "
                "set pools to 'released'"
            )
        long = stem == "32_frames"
        super().__init__(
            architecture,
            num_classes,
            classifier_std=0.01,  # authors' code
            block_parts=block_parts,
            stem=_long_stem(architecture) if long else None,
        )
        if long or pools == "paper":
            # a maximum over a box is the maximum over T of the maxima over H and W
            over_time = TemporalMaxPool(2, 2) if long else TemporalMaxPool(3, 1, padding=1)
            self.maxpool = nn.Sequential(self.maxpool, over_time)
        self.pool2 = TemporalMaxPool(3, 2, padding=1) if pools == "paper" else TemporalMaxPool(2, 2)
        # of the long stem's ceil(T / 2) frames, whole pairs are left twice
        self.fewest_frames = 7 if long else self.pool2.fewest_frames
        self.stem, self.pools = stem, pools
        self.unseen_options["pools"] = pools
        self.dropout = nn.Dropout(dropout)

    def forward_features(self, clip: Tensor) -> Tensor:
        """Features of a clip, (B, 3, T, H, W) to (B, num_features, T', H/32, W/32).

        T' is T // 2; (T + 1) // 2 with pools="paper"; (T + 1) // 8 with stem="32_frames".
        """
        if clip.shape[2] < self.fewest_frames:
            raise ValueError(
                f"the clip has {clip.shape[2]} frame(s) where stem='{self.stem}' with "
                f"pools='{self.pools}' needs at least {self.fewest_frames}; raise num_frames"
            )
        x = self.pool2(self.forward_stages(self.forward_stem(clip), last=1))
        return self.forward_stages(x, first=2)

    def forward_head(self, features: Tensor) -> Tensor:
        """Average over T, H and W, dropout, classifier: (B, C, T, H, W) to (B, num_classes)."""
        logits: Tensor = self.fc(self.dropout(features.mean((2, 3, 4))))
        return logits


def _long_stem(architecture: Architecture) -> nn.Module:
    """The first convolution for 32 frames: the plain one with 5 taps and stride 2 along T."""
    kernel, stride = architecture.stem_kernel, architecture.stem_stride
    return nn.Conv3d(
        3,
        architecture.width,
        (5, kernel, kernel),
        stride=(2, stride, stride),
        padding=(2, kernel // 2, kernel // 2),
        bias=False,
    )


class C2D(PooledResNet):
    """ResNet-C2D (figure 3(a), table 1 of the CoST paper).

    Args:
        arch: Key of `models.resnet.ARCHITECTURES`.
        num_classes: Width of the logits.
        pools: See `PooledResNet`.
        stem: See `PooledResNet`.
        dropout: See `PooledResNet`.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        arch: str,
        num_classes: int,
        *,
        pools: Pools = "released",
        stem: Stem = "8_frames",
        dropout: float = 0.5,
    ) -> None:
        super().__init__(
            get_architecture(arch), num_classes, pools=pools, stem=stem, dropout=dropout
        )


REPLACED: dict[str, slice] = {
    "r50": slice(1, None, 2),
    "r101": slice(1, None, 2),
    "r152": slice(1, None, 2),
    "tiny": slice(None),
}
"""The blocks that CoST and C3D replace, counted from 0 along the whole network."""


def replace_alternate(arch: str, parts: BlockParts) -> BlockPlan:
    """Put parts into the blocks that CoST and C3D replace: "one in every two".

    The authors' code pins them: they alternate along the whole network, stage borders included,
    from the second block on. R50: 0,1,0 / 1,0,1,0 / 1,0,1,0,1,0 / 1,0,1 (8 blocks); R101: 0,1,0 /
    1,0,1,0 / 1,0,...,0,1 / 0,1,0 (16 blocks). In the tiny architecture, which is ours, every block
    is replaced.

    Args:
        arch: Key of `REPLACED`.
        parts: What a replaced block is made of.

    Returns:
        From the indices of stage and block (both from 0) to the block's parts.

    Raises:
        ValueError: There is no such architecture, or it has no bottlenecks.
    """
    depths = get_architecture(arch, Bottleneck).depths
    replaced = range(sum(depths))[REPLACED[arch]]

    def plan(stage: int, block: int) -> BlockParts:
        return parts if sum(depths[:stage]) + block in replaced else BlockParts()

    return plan
