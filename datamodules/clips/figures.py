"""What moves in a video, where a dataset knows it, and frames without it."""

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
    """What moves in a video.

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
    """Fill what moves, and a rim around it, with the background.

    Where the background is not known, each frame's mean colour outside the figure fills it; its
    outline can then still be seen.

    Args:
        frames: Frames of one video, (N, C, H, W) uint8.
        figure: Its figure, of frames of this size.
        numbers: Indices of the frames in the video, N of them.

    Returns:
        Frames of the same shape.
    """
    mask = torch.from_numpy(figure.mask[numbers.ravel()])[:, None]  # (N, 1, H, W)
    covered = max_pool2d(mask.float(), 2 * RIM + 1, stride=1, padding=RIM) > 0
    if figure.background is not None:
        fill = torch.from_numpy(figure.background).permute(2, 0, 1)
    else:
        seen = frames * ~covered
        counts = (~covered).sum(dim=(-2, -1), keepdim=True).clamp(min=1)
        fill = (seen.sum(dim=(-2, -1), keepdim=True) / counts).round().to(torch.uint8)
    return torch.where(covered, fill, frames)
