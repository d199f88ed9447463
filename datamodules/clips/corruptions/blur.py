"""Blur: every frame out of focus, smeared, or zoomed while it was taken. Borders are mirrored."""

import math
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.randomness import VideoDraws

__all__ = ["defocused", "smeared", "zoomed"]

Floats: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = NDArray[np.int64]


def defocused(frames: Tensor, lens: tuple[int, float], _: Numbers, __: VideoDraws) -> Tensor:
    """Convolve with a disc, (N, C, H, W).

    Args:
        frames: Frames, uint8.
        lens: Radius of the disc, and the standard deviation that softens its rim, in pixels.
    """
    kernel = torch.from_numpy(_disc(*lens))
    return torch.stack([_convolved(frame, kernel) for frame in frames])


def smeared(
    frames: Tensor, trail: tuple[int, float], numbers: Numbers, draws: VideoDraws
) -> Tensor:
    """Smear each frame along a line, at most 45 degrees from the horizontal, (N, C, H, W).

    Args:
        frames: Frames, uint8.
        trail: Half the length of the line, and the standard deviation of the weights along it, in
            pixels.
        numbers: Number of each frame in the video.
        draws: Source of the angles, one for each frame.
    """
    changed = []
    for frame, number in zip(frames, numbers.ravel().tolist(), strict=True):
        angle = math.radians(draws.generator(number).uniform(-45, 45))
        changed.append(_convolved(frame, torch.from_numpy(_line(*trail, angle))))
    return torch.stack(changed)


def zoomed(frames: Tensor, zooms: tuple[float, float], _: Numbers, __: VideoDraws) -> Tensor:
    """Average each frame with itself at several zooms about its middle, (N, C, H, W).

    Args:
        frames: Frames, uint8.
        zooms: End of the zooms, which begin at 1, and their step.
    """
    end, step = zooms
    factors = np.arange(1, end, step)
    changed = []
    for frame in frames:
        plain = frame.float()
        total = plain.clone()
        for factor in factors.tolist():
            total += _zoomed_along(_zoomed_along(plain, factor, -2), factor, -1)
        changed.append(_as_bytes(total / (len(factors) + 1)))
    return torch.stack(changed)


def _zoomed_along(values: Tensor, factor: float, axis: int) -> Tensor:
    """Stretch one axis about its middle and keep its length, by linear interpolation."""
    length = values.shape[axis]
    middle = (length - 1) / 2
    wanted = middle + (torch.arange(length) - middle) / factor
    below = wanted.floor().long()
    above = (below + 1).clamp(max=length - 1)
    weight = (wanted - below).view((-1, 1) if axis == -2 else (-1,))
    return torch.lerp(values.index_select(axis, below), values.index_select(axis, above), weight)


def _disc(radius: int, softness: float) -> Floats:
    """Draw a disc of sum 1 with a rim softened by a Gaussian of 3 x 3 or, when wide, 5 x 5 taps."""
    reach = 1 if radius <= 8 else 2
    rows = np.arange(-radius, radius + 1)
    disc = np.hypot(rows[:, None], rows) <= radius
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * softness**2))
    taps /= taps.sum()
    soft = np.apply_along_axis(np.convolve, 0, disc / disc.sum(), taps)
    return np.asarray(np.apply_along_axis(np.convolve, 1, soft, taps))


def _line(radius: int, sigma: float, angle: float) -> Floats:
    """Draw a trail of sum 1 from the middle outwards: half a Gaussian over 2 radius + 1 pixels."""
    steps = np.arange(2 * radius + 1)
    kernel = np.zeros((4 * radius + 1, 4 * radius + 1))
    rows = 2 * radius + np.rint(steps * math.sin(angle)).astype(np.int64)
    columns = 2 * radius + np.rint(steps * math.cos(angle)).astype(np.int64)
    np.add.at(kernel, (rows, columns), np.exp(-(steps**2) / (2 * sigma**2)))
    return np.asarray(kernel / kernel.sum())


def _convolved(frame: Tensor, kernel: Tensor) -> Tensor:
    """Convolve a frame (C, H, W) with a square kernel of odd side, by Fourier transforms."""
    side = len(kernel)
    rows, columns = (
        torch.from_numpy(np.pad(np.arange(length), side // 2, mode="reflect"))
        for length in frame.shape[-2:]
    )
    wide = frame.index_select(-2, rows).index_select(-1, columns).float()
    size = (wide.shape[-2], wide.shape[-1])
    spectrum = torch.fft.rfft2(wide) * torch.fft.rfft2(kernel.float(), s=size)
    return _as_bytes(torch.fft.irfft2(spectrum, s=size)[..., side - 1 :, side - 1 :])


def _as_bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
