"""One stream of the two-stream networks: a ResNet that scores every chunk.

Feichtenhofer, Pinz, Wildes, NIPS 2016 (arXiv 1611.02155), table 1, as `models.two_stream` uses it.

Axes: B clips, C channels, T chunks, H rows, W columns, K classes.
"""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import fold_time, unfold_time
from models.resnet import ARCHITECTURES, Architecture, BlockPlan, VideoResNet


@dataclass(frozen=True)
class StreamSize:
    """Size of a stream.

    Attributes:
        architecture: Depth and width; at least two blocks in every stage, as ST-ResNet needs them.
        window: Height and width of the last maps of training, in cells.
    """

    architecture: Architecture
    window: int


STREAM_SIZES: dict[str, StreamSize] = {
    "r50": StreamSize(ARCHITECTURES["r50"], window=7),  # 224 pixels
    "r101": StreamSize(ARCHITECTURES["r101"], window=7),
    "r152": StreamSize(ARCHITECTURES["r152"], window=7),
    # ours, for 64 pixels
    "tiny": StreamSize(replace(ARCHITECTURES["tiny"], depths=(2, 2, 2)), window=4),
}
"""The stream of each trunk with bottlenecks in `models.resnet.ARCHITECTURES`."""


class SlidingMean(nn.Module):
    """Averages a window that slides over each map with stride 1, then all its positions.

    A linear classifier behind it gives the mean of its scores at all positions of the window: fully
    convolutional testing (authors' code), in which the middle of a map that is larger than the
    window weighs more than its border. A map as large as the window, or smaller, has one position.

    `torch.export` with free H and W tells these cases apart: the graph of a map larger than the
    window takes only such maps, and its smallest H and W must be given so.

    Args:
        window: Height and width of the window, in cells of the map.
        between: From the averages of all positions, (B, C, T, H', W'), to what is averaged over
            them, (B, C, T', H', W'), such as a maximum over time; None for nothing.
    """

    def __init__(self, window: int, between: nn.Module | None = None) -> None:
        super().__init__()
        self.window = window
        self.between = between or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Average x, (B, C, T, H, W), to (B, C, T', 1, 1)."""
        height, width = x.shape[3:]
        window = (min(self.window, height), min(self.window, width))
        means = unfold_time(F.avg_pool2d(fold_time(x), window, stride=1), x.shape[2])
        out: Tensor = self.between(means).mean((3, 4), keepdim=True)
        return out

    def extra_repr(self) -> str:
        """Size of the window, for `print(network)`."""
        return f"window={self.window}"


class Stream(VideoResNet):
    """A ResNet that scores every chunk.

    Args:
        architecture: Depth and width.
        num_classes: Width of the logits, K.
        in_channels: Channels of a chunk: 3, or 2L.
        block_parts: From the indices of stage and block to what is replaced there.
        pool: From features (B, C, T, H, W) to (B, C, T', 1, 1).
        dropout: Probability of dropping a feature before the classifier.
    """

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int,
        *,
        in_channels: int,
        block_parts: BlockPlan,
        pool: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__(
            architecture,
            num_classes,
            classifier_std=0.01,
            block_parts=block_parts,
            in_channels=in_channels,
        )
        self.pool = pool
        self.dropout = nn.Dropout(dropout)

    def score_chunks(self, features: Tensor) -> Tensor:
        """Logits of every chunk, (B, C, T, H, W) to (B, T', K)."""
        pooled = self.pool(features).flatten(2).transpose(1, 2)  # (B, T', C)
        scores: Tensor = self.fc(self.dropout(pooled))
        return scores

    def forward_head(self, features: Tensor) -> Tensor:
        """Average the scores of all chunks, (B, C, T, H, W) to (B, K)."""
        return self.score_chunks(features).mean(1)
