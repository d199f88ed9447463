"""Figures: the moving part of a video, where a dataset knows it, and frames without it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool2d

from datamodules.clips.sampling import FrameIndices

__all__ = ["Figure", "FigureSource", "without_figure"]

RIM = 4
"""Pixels around a mask that go with it: half-covered ones, subsampled colour, coding noise."""


@dataclass(frozen=True)
class Figure:
    """The moving part of a video.

    Attributes:
        mask: Pixels that it covers in each frame of the video, (T, H, W).
        background: The scene without it, (H, W, 3), at rest; None where nobody knows it.
    """

    mask: NDArray[np.bool_]
    background: NDArray[np.uint8] | None = None


class FigureSource(Protocol):
    """A dataset's source of figures; is sent to loader workers."""

    def read(self, path: str) -> Figure:
        """Read the figure of a video.

        Args:
            path: The video's path below the dataset's root.

        Raises:
            VideoError: There is none, or it is damaged.
        """
        ...


def without_figure(frames: Tensor, figure: Figure, numbers: FrameIndices) -> Tensor:
    """Show the scene without what moves in it.

    A known background is shown in all frames, so that nothing of the figure can be left, not even
    what coding spread around it. Where nobody knows it, the figure and a rim around it are filled
    with the mean colour of the rest of the frame; the outline can then still be seen.

    Args:
        frames: Frames of one video, (N, C, H, W) uint8.
        figure: Its figure, of frames of this size.
        numbers: Indices of the frames in the video, N of them.

    Returns:
        Frames of the same shape.
    """
    if figure.background is not None:
        return torch.from_numpy(figure.background).permute(2, 0, 1).expand_as(frames)
    mask = torch.from_numpy(figure.mask[numbers.ravel()])[:, None]  # (N, 1, H, W)
    covered = max_pool2d(mask.float(), 2 * RIM + 1, stride=1, padding=RIM) > 0
    counts = (~covered).sum(dim=(-2, -1), keepdim=True).clamp(min=1)
    mean = (frames * ~covered).sum(dim=(-2, -1), keepdim=True) / counts
    return torch.where(covered, mean.round().to(torch.uint8), frames)
