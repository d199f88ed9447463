"""Fingerprints of videos: tiny grey frames at fixed times, which survive a new encoding."""

import base64
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "RATE",
    "SIDE",
    "Fingerprint",
    "packed",
    "sampled_frames",
    "tiny_frames",
    "unpacked",
]

RATE = 8.0
"""Frames of a fingerprint in a second of its video."""

SIDE = 8
"""Rows and columns of a frame of it."""

FOLDER_RATE = 25.0
"""Images of a frame folder, which carry no times, that are taken for a second."""

Fingerprint: TypeAlias = NDArray[np.uint8]
"""Grey frames, (T, SIDE, SIDE), the n-th as shown n / RATE seconds after the first."""


def sampled_frames(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Choose the frames that are shown at the times of a fingerprint.

    Args:
        times: Time at which each frame of a video is shown, in seconds, increasing, (N,), N > 0.

    Returns:
        Their numbers, not decreasing, (T,).
    """
    since = times - times[0]
    count = math.floor(float(since[-1]) * RATE + 1e-6) + 1
    # a little later, as times are rounded
    return np.searchsorted(since, np.arange(count) / RATE + 1e-6, side="right") - 1


def tiny_frames(frames: Tensor) -> Fingerprint:
    """Shrink frames to grey ones, by the mean of the pixels in each cell; shape is not kept.

    Args:
        frames: uint8 RGB frames, (N, 3, H, W), best stored with channels last.

    Returns:
        (N, SIDE, SIDE).
    """
    count, channels, height, width = frames.shape
    rows, columns = _cells(height), _cells(width)
    lines = frames.permute(0, 2, 3, 1).reshape(count, height, width * channels)
    # whole numbers and long sums: a fifth of the time of torch's pooling on the CPU
    bands = torch.stack([lines[:, i:j].sum(1, dtype=torch.int32) for i, j in rows], 1)
    cells = [bands[:, :, i * channels : j * channels].sum(2) for i, j in columns]
    sizes = torch.tensor([[channels * (j - i) * (n - m) for m, n in columns] for i, j in rows])
    return (torch.stack(cells, 2) / sizes).round().to(torch.uint8).numpy()


def _cells(side: int) -> list[tuple[int, int]]:
    """Divide a side into `SIDE` parts, begin and end of each; of a short one they share pixels."""
    edges = [side * cell // SIDE for cell in range(SIDE + 1)]
    return [(begin, max(begin + 1, end)) for begin, end in pairwise(edges)]


def packed(parts: Sequence[Fingerprint]) -> str:
    """Write the parts of a fingerprint as text."""
    return base64.b64encode(b"".join(part.tobytes() for part in parts)).decode()


def unpacked(text: str) -> Fingerprint:
    """Read what `packed` wrote, (T, SIDE, SIDE)."""
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, SIDE, SIDE)
