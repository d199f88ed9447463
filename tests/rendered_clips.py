"""Clips that tests of MotionShapes render, and the inside of a mask."""

from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.motion_shapes.rendering import RenderedClip, Scene, render_clip


def render(
    label: int, seed: int = 0, num_frames: int = 25, size: int = 64, **scene: Any
) -> RenderedClip:
    """A clip of a class, drawn from a seed."""
    return render_clip(np.random.default_rng(seed), label, num_frames, size, Scene(**scene))


def eroded(mask: npt.NDArray[np.bool_], times: int) -> npt.NDArray[np.bool_]:
    """A mask without its border, some pixels wide."""
    for _ in range(times):
        for axis in (-1, -2):
            mask = mask & np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    return mask
