"""Noise: every value of every frame changed by a draw of its own.

A frame's draws depend on its number in the video, so that clips which share a frame show it with
the same noise. Strengths are of colours in [0, 1].
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.randomness import VideoDraws

__all__ = ["gaussian", "impulse", "shot", "speckle"]

Floats: TypeAlias = NDArray[np.float32]
Numbers: TypeAlias = NDArray[np.int64]


def gaussian(frames: Tensor, scale: float, numbers: Numbers, draws: VideoDraws) -> Tensor:
    """Add normal noise of a standard deviation, (N, C, H, W)."""

    def change(frame: Floats, rng: np.random.Generator) -> Floats:
        return frame + np.float32(scale) * rng.standard_normal(frame.shape, np.float32)

    return _each(frames, numbers, draws, change)


def shot(frames: Tensor, photons: float, numbers: Numbers, draws: VideoDraws) -> Tensor:
    """Count photons, of which white sends `photons` on average, (N, C, H, W)."""

    def change(frame: Floats, rng: np.random.Generator) -> Floats:
        return np.asarray(rng.poisson(frame * photons) / photons, dtype=np.float32)

    return _each(frames, numbers, draws, change)


def impulse(frames: Tensor, share: float, numbers: Numbers, draws: VideoDraws) -> Tensor:
    """Set a share of the values to 0 or to the maximum, each as often, (N, C, H, W)."""

    def change(frame: Floats, rng: np.random.Generator) -> Floats:
        drawn = rng.random(frame.shape, np.float32)
        changed: Floats = np.where(drawn < share, (drawn < share / 2).astype(np.float32), frame)
        return changed

    return _each(frames, numbers, draws, change)


def speckle(frames: Tensor, scale: float, numbers: Numbers, draws: VideoDraws) -> Tensor:
    """Add normal noise in proportion to the value, (N, C, H, W)."""

    def change(frame: Floats, rng: np.random.Generator) -> Floats:
        return frame * (1 + np.float32(scale) * rng.standard_normal(frame.shape, np.float32))

    return _each(frames, numbers, draws, change)


def _each(
    frames: Tensor,
    numbers: Numbers,
    draws: VideoDraws,
    change: Callable[[Floats, np.random.Generator], Floats],
) -> Tensor:
    """Change each frame by the draws of its number, and round to whole values."""
    changed = torch.empty_like(frames)
    for position, number in enumerate(numbers.ravel().tolist()):
        frame: Floats = (frames[position].numpy() / np.float32(255)).astype(np.float32)
        noisy = np.clip(change(frame, draws.generator(number)), 0, 1) * 255
        changed[position] = torch.from_numpy(np.rint(noisy).astype(np.uint8))
    return changed
