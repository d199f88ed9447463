"""RandAugment for clips: a few operations drawn for each clip, the same in all its frames.

Cubuk et al., RandAugment, NeurIPS 2020 (arXiv 1909.13719): 14 operations, one magnitude for all.
The ranges are torchvision's. Departures, for video: what an operation measures (the mean grey of
contrast, the range of autocontrast, the histogram of equalize) is measured over the whole clip, so
that nothing flickers; the operations of a clip are different ones, so that it is turned once at
most and a direction never becomes the opposite one. There is no mirror among them.

C channels, T frames, H, W.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from datamodules.errors import UserError

__all__ = ["OPERATIONS", "RandAugment", "apply_operation"]

GREATEST = 30
"""Upper end of the magnitude."""
_FILL = (124.0, 116.0, 104.0)
"""Colour of what comes into view: ImageNet's mean."""
_TURN, _SHEAR, _SHIFT, _FACTOR = 30.0, 0.3, 150 / 331, 0.9  # degrees; parts of the other side; ...


def _affine(frames: Tensor, angle: float, shift: tuple[float, float], shear: list[float]) -> Tensor:
    height, width = frames.shape[-2:]
    pixels = [round(shift[0] * width), round(shift[1] * height)]
    bilinear, fill = InterpolationMode.BILINEAR, list(_FILL)
    return tvf.affine(frames, angle, pixels, 1.0, shear, bilinear, fill)  # type: ignore[no-any-return]


def _sheared(frames: Tensor, x: float, y: float) -> Tensor:
    degrees = [math.degrees(math.atan(_SHEAR * part)) for part in (x, y)]
    return _affine(frames, 0.0, (0.0, 0.0), degrees)


# on frames (T, C, H, W), which move alike; the level lies in [-1, 1]
_OF_FRAMES: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "rotate": lambda frames, level: _affine(frames, _TURN * level, (0.0, 0.0), [0.0, 0.0]),
    "shear_x": lambda frames, level: _sheared(frames, level, 0.0),
    "shear_y": lambda frames, level: _sheared(frames, 0.0, level),
    "translate_x": lambda frames, level: _affine(frames, 0.0, (_SHIFT * level, 0.0), [0.0, 0.0]),
    "translate_y": lambda frames, level: _affine(frames, 0.0, (0.0, _SHIFT * level), [0.0, 0.0]),
    "sharpness": lambda frames, level: tvf.adjust_sharpness(frames, 1 + _FACTOR * level),
}
# on the frames of a clip below each other, (C, T * H, W), so that one measure holds for all
_OF_CLIPS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda clip, level: clip,
    "autocontrast": lambda clip, level: tvf.autocontrast(clip),
    "equalize": lambda clip, level: tvf.equalize(clip),
    "brightness": lambda clip, level: tvf.adjust_brightness(clip, 1 + _FACTOR * level),
    "contrast": lambda clip, level: tvf.adjust_contrast(clip, 1 + _FACTOR * level),
    "color": lambda clip, level: tvf.adjust_saturation(clip, 1 + _FACTOR * level),
    "posterize": lambda clip, level: tvf.posterize(clip, 8 - round(4 * abs(level))),
    "solarize": lambda clip, level: tvf.solarize(clip, 255 * (1 - abs(level))),
}
OPERATIONS = (*_OF_CLIPS, *_OF_FRAMES)
"""Names of the operations."""


def apply_operation(clip: Tensor, name: str, level: float) -> Tensor:
    """Change a clip.

    Args:
        clip: RGB clip, (3, T, H, W), uint8.
        name: One of `OPERATIONS`.
        level: Strength from 0 to 1, negative for the other direction, such as darker or to the
            left; where there is none the sign does not count.

    Returns:
        (3, T, H, W), uint8.
    """
    if name in _OF_FRAMES:
        return _OF_FRAMES[name](clip.transpose(0, 1), level).transpose(0, 1)
    return _OF_CLIPS[name](clip.reshape(3, -1, clip.shape[-1]), level).view(clip.shape)


@dataclass(frozen=True)
class RandAugment:
    """Settings of RandAugment.

    Attributes:
        operations: Operations of a clip; 0 for none, 2 is usual.
        magnitude: Their strength, from 0 to 30; 9 is usual.

    Raises:
        UserError: If a number is out of its range, or the magnitude has no effect.
    """

    operations: int = 0
    magnitude: float = 9.0

    def __post_init__(self) -> None:
        number, option = len(OPERATIONS), "data.augmentation.rand_augment"
        if not 0 <= self.operations <= number:
            raise UserError(
                f"{option}={self.operations} is not possible; it is the number of operations of a "
                f"clip, from 0 for none to {number}"
            )
        if not 0 <= self.magnitude <= GREATEST:
            raise UserError(
                f"{option}_magnitude={self.magnitude} is not possible; it must lie in "
                f"[0, {GREATEST}]"
            )
        if not self.operations and self.magnitude != type(self).magnitude:
            raise UserError(
                f"{option}_magnitude={self.magnitude} has no effect without {option}, the number "
                "of operations; set that, or leave the magnitude out"
            )

    def __bool__(self) -> bool:
        return self.operations > 0

    def draw(self, rng: np.random.Generator) -> list[tuple[str, float]]:
        """Draw one clip's operations, with their levels, in their order."""
        chosen = rng.choice(len(OPERATIONS), size=self.operations, replace=False)
        signs = np.where(rng.random(self.operations) < 0.5, -1.0, 1.0)
        level = self.magnitude / GREATEST
        return [(OPERATIONS[i], level * s) for i, s in zip(chosen, signs.tolist(), strict=True)]

    def change(self, clips: Tensor, drawn: Sequence[Sequence[tuple[str, float]]]) -> Tensor:
        """Change each sample's clips by its operations.

        Args:
            clips: RGB clips, (B, V, 3, T, H, W), uint8.
            drawn: Operations of each sample, B lists.

        Returns:
            (B, V, 3, T, H, W), uint8.
        """
        changed = clips.clone()
        for views, operations in zip(changed, drawn, strict=True):
            for clip in views:
                for name, level in operations:
                    clip.copy_(apply_operation(clip, name, level))
        return changed
