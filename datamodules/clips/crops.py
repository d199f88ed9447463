"""Crops of clips, cut and resized in the workers; the same for all frames of a clip.

Frames are (T, C, H, W) uint8; changes on the device are in `augmentation`.

Every crop is drawn in the *working frame*, the frame as it would look after the resize that a paper
names (short side 256, say), then carried over to source pixels and cut and resized in one step. So
each frame is resampled once, and only where it is seen.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from datamodules.clips.boxes import (
    Box,
    border_box,
    center_box,
    corner_box,
    multi_scale_box,
    random_box,
    random_resized_box,
    working_size,
)
from datamodules.errors import UserError

__all__ = [
    "Crop",
    "Crops",
    "NumCrops",
    "TrainCrop",
    "count_crops",
    "count_mirrored",
    "crop_and_resize",
    "evaluation_crops",
]

TrainCrop: TypeAlias = Literal[
    "short_side", "random_resized", "multi_scale", "corners", "border", "center"
]
NumCrops: TypeAlias = Literal[1, 2, 3, 10, "full", "full_flip"]
_DEFAULTS = {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3)}  # of "random_resized"


def crop_and_resize(frames: Tensor, box: Box, size: int) -> Tensor:
    """Cut one box out of all frames and bring it to size x size (bilinear, antialiased).

    Args:
        frames: Frames, (..., H, W), uint8.
        box: The rectangle, in pixels of these frames.
        size: Side of the result, in pixels.

    Returns:
        (..., size, size), uint8.
    """
    crop: Tensor = tvf.resized_crop(frames, *box, size=[size, size], antialias=True)
    return crop


@dataclass(frozen=True)
class Crop:
    """A drawn crop, to be cut out of the frames of a video and of their optical flow alike.

    Attributes:
        box: The rectangle, in pixels of the working frame.
        frame: Height and width of the working frame.
        size: Side of the result, in pixels.
    """

    box: Box
    frame: tuple[int, int]
    size: int

    def __call__(self, frames: Tensor) -> Tensor:
        """Cut and resize frames of any size, (..., H, W) to (..., size, size), uint8."""
        height, width = frames.shape[-2:]
        return crop_and_resize(frames, self.box.scaled(self.frame, (height, width)), self.size)


def count_crops(num_crops: NumCrops) -> int:
    """Count the views of a clip."""
    if num_crops == "full":
        return 1
    return 2 if num_crops == "full_flip" else num_crops


def count_mirrored(num_crops: NumCrops) -> int:
    """Count the views of a clip that are mirror images; they are the last ones."""
    return count_crops(num_crops) // 2 if num_crops in (2, 10, "full_flip") else 0


def evaluation_crops(frames: Tensor, size: int, num_crops: NumCrops) -> Tensor:
    """Take the fixed crops of an evaluation.

    1 is the centre; 2 are the centre and its mirror image; 3 lie along the long side at its start,
    middle and end; 10 are the corners (top left, top right, bottom left, bottom right), the centre,
    and the mirror images of these five; "full" is the whole frame, "full_flip" that and its mirror
    image.

    Args:
        frames: Frames resized to their working size, (T, C, H, W).
        size: Side of a crop, in pixels; not used for whole frames.
        num_crops: The set of crops.

    Returns:
        (number of crops, T, C, size, size); (1, T, C, H, W) for "full", (2, T, C, H, W) for
        "full_flip".

    Raises:
        UserError: If a crop does not fit in the frames, or there is no such set of crops.
    """
    if num_crops not in get_args(NumCrops):
        raise UserError(
            f"num_crops={num_crops} is not possible; set it to 1, 2, 3, 10, full or full_flip"
        )
    if num_crops == "full":
        return frames[None]
    if num_crops == "full_flip":
        return torch.stack([frames, frames.flip(-1)])
    height, width = frames.shape[-2:]
    middle = center_box((height, width), size)
    bottom, right = height - size, width - size
    if num_crops in (1, 2):
        corners = [(middle.top, middle.left)]
    elif num_crops == 3 and width >= height:
        corners = [(middle.top, left) for left in (0, middle.left, right)]
    elif num_crops == 3:
        corners = [(top, middle.left) for top in (0, middle.top, bottom)]
    else:
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (middle.top, middle.left)]
    crops = torch.stack(
        [frames[..., top : top + size, left : left + size] for top, left in corners]
    )
    return torch.cat([crops, crops.flip(-1)]) if count_mirrored(num_crops) else crops


@dataclass(frozen=True)
class Crops:
    """Settings of the square crops of training and the views of an evaluation.

    The working frame has a short side of `side`, in training drawn anew for each clip from
    that to `max_short_side` where that is given. From it, training takes one crop:

    - "short_side": a square of `size`, anywhere (CoST: 256 to 320, size 224);
    - "random_resized": a rectangle of random area and aspect, anywhere;
    - "multi_scale": TSN's multi-scale crop (TSN, TSM, SELFY);
    - "corners": that of two-stream networks' motion stream, `corner_box`;
    - "border": ST-ResNet's, `border_box`;
    - "center": a square of `size` in the middle.

    Attributes:
        size: Side of a training crop, in pixels.
        short_side: Shorter side of the working frame, in pixels; null for 8/7 of `size` (256 for
            224).
        train_crop: The crop of training.
        max_short_side: Upper end of the range of short sides in training.
        test_size: Side of an evaluation crop, in pixels; `size` where not given.
        aspect: Width divided by height that frames are forced to (SELFY and StNet: 4/3).
        scale: Area range of "random_resized", as a part of the working frame's area.
        ratio: Range of width divided by height of "random_resized".

    Raises:
        UserError: If crops cannot fit in the working frame, or a setting would have no effect.
    """

    size: int = 224
    short_side: int | None = None
    train_crop: TrainCrop = "short_side"
    max_short_side: int | None = None
    test_size: int | None = None
    aspect: float | None = None
    scale: tuple[float, float] = _DEFAULTS["scale"]
    ratio: tuple[float, float] = _DEFAULTS["ratio"]

    def __post_init__(self) -> None:
        if self.train_crop not in get_args(TrainCrop):
            raise UserError(
                f'train_crop="{self.train_crop}" is not possible; set train_crop to one of '
                f"{', '.join(get_args(TrainCrop))}"
            )
        if min(self.size, self.crop_size, self.side) < 1:
            raise UserError(
                f"size={self.size}, test_size={self.crop_size} and short_side={self.side} are "
                "pixels; each must be at least 1"
            )
        if self.side < max(self.size, self.crop_size):
            raise UserError(
                f"short_side={self.side} is smaller than a crop of size={self.size}, "
                f"test_size={self.crop_size}; raise short_side or lower size and test_size"
            )
        if self.max_short_side is not None and self.max_short_side < self.side:
            raise UserError(
                f"max_short_side={self.max_short_side} is below short_side={self.side}; "
                "raise max_short_side or leave it out"
            )
        if self.max_short_side is not None and self.train_crop != "short_side":
            raise UserError(
                f"max_short_side={self.max_short_side} has no effect on "
                f'train_crop="{self.train_crop}"; leave it out or set train_crop to "short_side"'
            )
        if self.aspect is not None and self.aspect <= 0:
            raise UserError(f"aspect={self.aspect} is not possible; aspect must be above 0")
        self._check_ranges()

    def _check_ranges(self) -> None:
        for name in ("scale", "ratio"):
            if self.train_crop != "random_resized" and getattr(self, name) != _DEFAULTS[name]:
                raise UserError(
                    f"{name}={list(getattr(self, name))} has no effect on "
                    f'train_crop="{self.train_crop}"; leave it out or set train_crop to '
                    '"random_resized"'
                )
        for name, (low, high) in {"scale": self.scale, "ratio": self.ratio}.items():
            if not 0 < low <= high or (name == "scale" and high > 1):
                raise UserError(
                    f"{name}=({low}, {high}) is not a range of positive numbers"
                    f"{' up to 1' if name == 'scale' else ''}; change {name}"
                )

    @property
    def side(self) -> int:
        """Shorter side of the working frame, in pixels."""
        return round(self.size * 8 / 7) if self.short_side is None else self.short_side

    @property
    def crop_size(self) -> int:
        """Side of an evaluation crop, in pixels."""
        return self.size if self.test_size is None else self.test_size

    def check_crops(self, num_crops: NumCrops) -> None:
        """Refuse corners that coincide, which would count twice.

        Raises:
            UserError: If crops as high as the working frame are to be taken at its corners.
        """
        if num_crops == 10 and self.crop_size == self.side:
            raise UserError(
                f"num_crops=10 takes corners, and those of {self.crop_size} pixels coincide in "
                f"frames with short_side={self.side}; set test_size lower, or num_crops to 3"
            )

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Crop:
        """Draw a training crop of a video whose frames have the given height and width."""
        short_side = self.side
        if self.max_short_side is not None:
            short_side = int(rng.integers(short_side, self.max_short_side + 1))
        frame = working_size(height, width, short_side, self.aspect)
        if self.train_crop == "short_side":
            box = random_box(frame, self.size, rng)
        elif self.train_crop == "random_resized":
            box = random_resized_box(frame, self.scale, self.ratio, rng)
        elif self.train_crop == "multi_scale":
            box = multi_scale_box(frame, rng)
        elif self.train_crop == "corners":
            box = corner_box(frame, rng)
        elif self.train_crop == "border":
            box = border_box(frame, self.size, rng)
        else:
            box = center_box(frame, self.size)
        return Crop(box, frame, self.size)

    def test(
        self, frames: Tensor, num_crops: NumCrops = 1, source: tuple[int, int] | None = None
    ) -> Tensor:
        """Resize frames to `side`, and take the fixed crops of an evaluation.

        Args:
            frames: Decoded frames, (T, C, H, W), uint8.
            num_crops: The set of crops; see `evaluation_crops`.
            source: Height and width of the video, where these are its flow, of another size.

        Returns:
            (number of crops, T, C, H', W'), uint8.
        """
        height, width = source or frames.shape[-2:]
        frame = working_size(height, width, self.side, self.aspect)
        resized: Tensor = tvf.resize(frames, list(frame), antialias=True)
        return evaluation_crops(resized, self.crop_size, num_crops)
