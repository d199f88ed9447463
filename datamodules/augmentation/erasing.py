"""Random erasing: a box of noise that stands still in a clip.

Zhong et al., Random Erasing Data Augmentation, AAAI 2020 (arXiv 1708.04896), with its areas, aspect
ratios and random values. For video the box and its noise are the same in all frames: what is pasted
shows no motion, and its optical flow is that of no motion.

B batch, V views, C channels, T frames, H, W.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.flow.coding import ZERO_CODE

__all__ = ["Patch", "draw_patch", "erase", "erase_flow"]

AREA = (0.02, 0.4)
"""Range of the box's part of a frame."""
ASPECT = (0.3, 1 / 0.3)
"""Range of its height over its width; drawn evenly on a logarithmic scale."""


@dataclass(frozen=True)
class Patch:
    """A box and what is painted there.

    Attributes:
        top: First row.
        left: First column.
        noise: Colours, (3, h, w), uint8.
    """

    top: int
    left: int
    noise: NDArray[np.uint8]

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the box."""
        height, width = self.noise.shape[1:]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def draw_patch(height: int, width: int, rng: np.random.Generator) -> Patch:
    """Draw a box inside a frame, cut off at the frame's size where it is longer, and its noise.

    Args:
        height: H, in pixels.
        width: W, in pixels.
        rng: Source of all randomness.
    """
    area = rng.uniform(*AREA) * height * width
    aspect = math.exp(rng.uniform(*np.log(ASPECT)))
    h = min(height, max(1, round(math.sqrt(area * aspect))))
    w = min(width, max(1, round(math.sqrt(area / aspect))))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return Patch(top, left, rng.integers(256, size=(3, h, w), dtype=np.uint8))


def erase(clips: Tensor, patches: Sequence[Patch | None]) -> Tensor:
    """Paint each sample's patch over all its frames, in place.

    Args:
        clips: RGB clips, (B, V, 3, T, H, W), uint8 or float in [0, 1].
        patches: A patch for each sample, or None.

    Returns:
        The clips.
    """
    for clip, patch in zip(clips, patches, strict=True):
        if patch is not None:
            noise = torch.from_numpy(patch.noise).to(clips.device)[:, None]  # (3, 1, h, w)
            clip[..., *patch.box] = noise if clips.dtype == torch.uint8 else noise.to(clip) / 255
    return clips


def erase_flow(flow: Tensor, patches: Sequence[Patch | None]) -> Tensor:
    """Let nothing move where patches were painted, in place.

    Args:
        flow: Codes of the same views, (B, V, 2L, T, H, W), uint8.
        patches: A patch for each sample, or None.

    Returns:
        The flow.
    """
    for field, patch in zip(flow, patches, strict=True):
        if patch is not None:
            field[..., *patch.box] = ZERO_CODE
    return flow
