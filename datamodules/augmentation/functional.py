"""Flips, colour and normalization of whole batches, on the device that trains.

Pure functions over clips (B, V, C, T, H, W); the caller decides which samples are flipped or
recoloured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import UserError
from datamodules.flow.coding import ZERO_CODE

RGB_TO_YIQ = [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]
YIQ_TO_RGB = np.linalg.inv(RGB_TO_YIQ).tolist()


def flip_mask(wanted: Tensor, labels: Tensor, exempt: Sequence[int]) -> Tensor:
    """Mark the samples to flip: those that were drawn and whose label allows it.

    Args:
        wanted: Samples drawn to be flipped, (B,), bool.
        labels: Labels, (B,), or marks of the classes, (B, K).
        exempt: Labels that are never flipped, such as "pulling something from left to right".

    Returns:
        (B,), bool.
    """
    if labels.ndim == 2:
        return wanted & ~labels[:, list(exempt)].bool().any(dim=1)
    never = torch.tensor(list(exempt), dtype=labels.dtype, device=labels.device)
    return wanted & ~torch.isin(labels, never)


def flip_horizontally(clips: Tensor, mask: Tensor) -> Tensor:
    """Mirror the marked samples left to right, all views and frames of each alike.

    Args:
        clips: Clips, (B, V, C, T, H, W).
        mask: Samples to mirror, (B,), bool.

    Returns:
        (B, V, C, T, H, W).
    """
    mask = mask.to(clips.device).view(-1, *[1] * (clips.ndim - 1))
    return torch.where(mask, clips.flip(-1), clips)


def flip_flow(flow: Tensor, mask: Tensor) -> Tensor:
    """Mirror the coded flow of the marked samples: its pixels, and the sign of its x components.

    Args:
        flow: Codes of stacks u1, v1, u2, v2, ..., (B, V, 2L, T, H, W), uint8.
        mask: Samples to mirror, (B,), bool.

    Returns:
        (B, V, 2L, T, H, W).
    """
    mirrored = flow.flip(-1)
    mirrored[:, :, ::2] = 255 - mirrored[:, :, ::2]
    return torch.where(mask.to(flow.device).view(-1, *[1] * (flow.ndim - 1)), mirrored, flow)


def flip_labels(labels: Tensor, mask: Tensor, swaps: Mapping[int, int]) -> Tensor:
    """Relabel flipped samples, where the mirror image of a class is another class.

    Args:
        labels: Labels, (B,), or marks of the classes, (B, K).
        mask: Samples that were mirrored, (B,), bool.
        swaps: Class of the mirror image by class, such as {0: 1, 1: 0} for moving left and right;
            other classes are their own mirror image.

    Returns:
        As `labels`.
    """
    flipped = labels.clone()
    if labels.ndim == 2:
        for label, mirrored in swaps.items():
            flipped[mask, mirrored] = labels[mask, label]
        return flipped
    for label, mirrored in swaps.items():
        flipped[mask & (labels == label)] = mirrored
    return flipped


@dataclass(frozen=True)
class ColorJitter:
    """Strengths of the random colour changes of a clip.

    Attributes:
        brightness: Brightness is multiplied by 1 - brightness to 1 + brightness.
        contrast: The distance from the clip's mean grey is multiplied by 1 -+ contrast.
        saturation: The distance from the pixel's own grey is multiplied by 1 -+ saturation.
        hue: Hue is turned by up to this part of the full circle, at most 0.5.

    Raises:
        UserError: If a strength is out of its range.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        limits = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise UserError(
                    f"{name}={getattr(self, name)} is not possible; {name} must lie in "
                    f"[0, {limit:g}]"
                )

    def draw(self, rng: np.random.Generator) -> tuple[float, float, float, float]:
        """Draw one sample's factors for `color_jitter`: brightness, contrast, saturation, hue."""
        brightness, contrast, saturation, hue = rng.uniform(-1, 1, size=4).tolist()
        return (
            1 + brightness * self.brightness,
            1 + contrast * self.contrast,
            1 + saturation * self.saturation,
            hue * self.hue,
        )


def color_jitter(clips: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order, by sample.

    The first three are torchvision's, with one mean grey per clip (not per frame), so that nothing
    flickers. Hue turns the chroma plane of YIQ, red towards green, which keeps luma.

    Args:
        clips: RGB clips, (B, V, 3, T, H, W), float in [0, 1].
        factors: Brightness, contrast and saturation factors (1 changes nothing) and hue turn (parts
            of the full circle, 0 changes nothing) of each sample, (B, 4).

    Returns:
        (B, V, 3, T, H, W), in [0, 1].
    """
    factors = factors.to(clips).view(-1, 4, 1, 1, 1, 1, 1)
    brightness, contrast, saturation, _ = factors.unbind(1)
    clips = (clips * brightness).clamp(0, 1)
    mean = _grey(clips).mean(dim=(-3, -2, -1), keepdim=True)
    clips = torch.lerp(mean, clips, contrast).clamp(0, 1)
    clips = torch.lerp(_grey(clips), clips, saturation).clamp(0, 1)
    turned = torch.einsum("brc,bvcthw->bvrthw", _hue_matrices(factors[:, 3].flatten()), clips)
    return turned.clamp(0, 1)


def normalize(
    clips: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Subtract the mean and divide by the standard deviation of each channel.

    Args:
        clips: Clips, (B, V, C, T, H, W), uint8 in [0, 255] or float in [0, 1].
        mean: Mean of each of the C channels on the scale [0, 1].
        std: Standard deviation of each of the C channels on the scale [0, 1].
        dtype: Type of the result; the arithmetic is float32.

    Returns:
        (B, V, C, T, H, W).
    """
    unit = 255.0 if clips.dtype == torch.uint8 else 1.0
    shape = (1, 1, -1, 1, 1, 1)
    offset = torch.tensor(mean, dtype=torch.float32, device=clips.device).view(shape) * unit
    divisor = torch.tensor(std, dtype=torch.float32, device=clips.device).view(shape) * unit
    return ((clips.float() - offset) / divisor).to(dtype)


def normalize_flow(flow: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Subtract the code of no motion, 128, without scaling (ST-ResNet's authors' code).

    Args:
        flow: Codes, (B, V, 2L, T, H, W), uint8.
        dtype: Type of the result.

    Returns:
        (B, V, 2L, T, H, W), in [-128, 127].
    """
    return (flow.float() - ZERO_CODE).to(dtype)


def _grey(clips: Tensor) -> Tensor:
    """Convert to ITU-R 601 luma, (B, V, 3, T, H, W) to (B, V, 1, T, H, W)."""
    red, green, blue = clips.unbind(2)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(2)


def _hue_matrices(turns: Tensor) -> Tensor:
    """Make RGB matrices that turn the chroma plane of YIQ, (B,) in turns to (B, 3, 3)."""
    cosine, sine = torch.cos(2 * torch.pi * turns), torch.sin(2 * torch.pi * turns)
    zero, one = torch.zeros_like(turns), torch.ones_like(turns)
    rotation = torch.stack([one, zero, zero, zero, cosine, sine, zero, -sine, cosine], dim=-1)
    to_yiq, to_rgb = turns.new_tensor(RGB_TO_YIQ), turns.new_tensor(YIQ_TO_RGB)
    matrices: Tensor = to_rgb @ rotation.view(-1, 3, 3) @ to_yiq
    return matrices
