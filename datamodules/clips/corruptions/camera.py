"""Camera: the whole picture turned or shifted."""

import math
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.randomness import VideoDraws

__all__ = ["shifted", "turned", "turned_at_random"]

Numbers: TypeAlias = NDArray[np.int64]

NAMED_SHORT_SIDE = 256
"""Short side of the frames, in pixels, that the shifts are stated for."""


def turned(frames: Tensor, degrees: float, _: Numbers, __: VideoDraws) -> Tensor:
    """Turn all frames by one angle, anticlockwise; black comes in, (N, C, H, W)."""
    return _turned(frames, degrees)


def turned_at_random(frames: Tensor, most: int, numbers: Numbers, draws: VideoDraws) -> Tensor:
    """Turn each frame by whole degrees of its own, `most` to either side, (N, C, H, W)."""
    changed = []
    for frame, number in zip(frames, numbers.ravel().tolist(), strict=True):
        degrees = int(draws.generator(number).integers(-most, most, endpoint=True))
        changed.append(_turned(frame, degrees))
    return torch.stack(changed)


def shifted(frames: Tensor, most: int, numbers: Numbers, draws: VideoDraws) -> Tensor:
    """Shift each frame up and to the left; what comes in is its mirror image, (N, C, H, W).

    Args:
        frames: Frames, uint8.
        most: Greatest shift along an axis, in pixels of a frame of `NAMED_SHORT_SIDE`.
        numbers: Number of each frame in the video.
        draws: Source of the shifts, two for each frame.
    """
    height, width = frames.shape[-2:]
    scale = min(height, width) / NAMED_SHORT_SIDE
    changed = []
    for frame, number in zip(frames, numbers.ravel().tolist(), strict=True):
        up, left = np.rint(draws.generator(number).integers(0, most, 2) * scale).astype(np.int64)
        rows, columns = _mirrored(height, int(up)), _mirrored(width, int(left))
        changed.append(frame.index_select(-2, rows).index_select(-1, columns))
    return torch.stack(changed)


def _mirrored(length: int, shift: int) -> Tensor:
    """Number the places of an axis that is moved on, back from the last one, (length,)."""
    return length - 1 - (length - 1 - shift - torch.arange(length)).abs()


def _turned(frames: Tensor, degrees: float) -> Tensor:
    """Turn frames (..., H, W) about their middle: each pixel takes the nearest one's value."""
    height, width = frames.shape[-2:]
    angle = math.radians(degrees)
    y = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    # the place in the plain frame that a pixel shows; rounding keeps whole turns whole
    column = (x * math.cos(angle) - y * math.sin(angle) + (width - 1) / 2).round(decimals=6)
    row = (x * math.sin(angle) + y * math.cos(angle) + (height - 1) / 2).round(decimals=6)
    column, row = (column + 0.5).floor().long(), (row + 0.5).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    places = torch.where(inside, row * width + column, 0)
    return frames.flatten(-2)[..., places] * inside
