"""Crops of clips, cut and resized in the workers; the same for all frames of a clip.

Frames are (T, C, H, W) uint8; what happens on the device is in `augmentation`.

Every crop is drawn in the *working frame*, the frame as it would look after the resize that a paper
names (short side 256, say), then carried over to source pixels and cut and resized in one step. So
each frame is resampled once, and only where it is seen.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

__all__ = [
    "Box",
    "NumCrops",
    "SpatialTransform",
    "TrainCrop",
    "center_box",
    "crop_and_resize",
    "evaluation_crops",
    "multi_scale_box",
    "random_box",
    "random_resized_box",
    "working_size",
]

TrainCrop: TypeAlias = Literal["short_side", "random_resized", "multi_scale", "center"]
NumCrops: TypeAlias = Literal[1, 3, 10, "full"]

MULTI_SCALE_SIDES = (1.0, 0.875, 0.75, 0.66)
# Corner positions of a multi-scale crop, in quarters of the free range: (down, right).
MULTI_SCALE_POSITIONS = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((2, 0), (2, 4), (4, 2), (0, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)


class Box(NamedTuple):
    """A rectangle in a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, source: tuple[int, int], target: tuple[int, int]) -> "Box":
        """The same place in a frame of another size, rounded to whole pixels inside it.

        Args:
            source: Height and width of the frame that the box lies in.
            target: Height and width of the other frame.
        """
        top, height = _scaled_range(self.top, self.height, source[0], target[0])
        left, width = _scaled_range(self.left, self.width, source[1], target[1])
        return Box(top, left, height, width)


def working_size(
    height: int, width: int, short_side: int, aspect: float | None = None
) -> tuple[int, int]:
    """Height and width of a frame resized to a short side.

    Args:
        height: Height of the frame, in pixels.
        width: Width of the frame, in pixels.
        short_side: Length of the shorter side afterwards, in pixels.
        aspect: Width divided by height to force (SELFY and StNet: 4/3), or None to keep it.
    """
    ratio = width / height if aspect is None else aspect
    if ratio >= 1:
        return short_side, max(short_side, round(short_side * ratio))
    return max(short_side, round(short_side / ratio)), short_side


def random_box(frame: tuple[int, int], size: int, rng: np.random.Generator) -> Box:
    """Square of side `size` anywhere in a frame of the given height and width."""
    _check_fits(frame, size)
    top = int(rng.integers(frame[0] - size + 1))
    left = int(rng.integers(frame[1] - size + 1))
    return Box(top, left, size, size)


def center_box(frame: tuple[int, int], size: int) -> Box:
    """Square of side `size` in the middle of a frame of the given height and width."""
    _check_fits(frame, size)
    return Box((frame[0] - size) // 2, (frame[1] - size) // 2, size, size)


def random_resized_box(
    frame: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> Box:
    """Rectangle of random area and aspect anywhere in a frame ("Inception crop").

    Source: Szegedy et al., Going deeper with convolutions, section 6. After ten draws that do not
    fit comes the largest central rectangle whose aspect is allowed.

    Args:
        frame: Height and width of the frame, in pixels.
        scale: Least and greatest area, as a part of the frame's.
        ratio: Least and greatest width divided by height; its logarithm is drawn uniformly.
        rng: Source of the random choice.
    """
    height, width = frame
    for _ in range(10):
        area = rng.uniform(*scale) * height * width
        aspect = float(np.exp(rng.uniform(*np.log(ratio))))
        box_height, box_width = round((area / aspect) ** 0.5), round((area * aspect) ** 0.5)
        if 0 < box_height <= height and 0 < box_width <= width:
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            return Box(top, left, box_height, box_width)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    box_height = max(1, min(height, round(width / aspect)))
    box_width = max(1, min(width, round(height * aspect)))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def multi_scale_box(frame: tuple[int, int], rng: np.random.Generator) -> Box:
    """TSN's multi-scale crop: one of 10 shapes at one of 13 fixed positions.

    Height and width are the short side times 1, .875, .75 or .66, equal or neighbours in that list
    (the aspect jitter); the positions are corners, centre, middles of the edges and the points half
    way between centre and corners. Source: Wang et al., Towards good practices for very deep
    two-stream ConvNets, and TSN's released transforms.

    Args:
        frame: Height and width of the frame, in pixels.
        rng: Source of the random choice.
    """
    sides = [int(min(frame) * scale) for scale in MULTI_SCALE_SIDES]
    shapes = [
        (sides[i], sides[j])
        for i in range(len(sides))
        for j in range(len(sides))
        if abs(i - j) <= 1
    ]
    height, width = shapes[rng.integers(len(shapes))]
    down, right = MULTI_SCALE_POSITIONS[rng.integers(len(MULTI_SCALE_POSITIONS))]
    top = (frame[0] - height) // 4 * down
    left = (frame[1] - width) // 4 * right
    return Box(top, left, height, width)


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


def evaluation_crops(frames: Tensor, size: int, num_crops: NumCrops) -> Tensor:
    """The fixed crops of an evaluation.

    1 is the centre; 3 lie along the long side at its start, middle and end; 10 are the corners (top
    left, top right, bottom left, bottom right), the centre, and the mirror images of these five;
    "full" is the whole frame.

    Args:
        frames: Frames resized to their working size, (T, C, H, W).
        size: Side of a crop, in pixels; not used for "full".
        num_crops: Which crops.

    Returns:
        (number of crops, T, C, size, size), or (1, T, C, H, W) for "full".

    Raises:
        ValueError: If a crop does not fit in the frames, or there is no such set of crops.
    """
    if num_crops not in get_args(NumCrops):
        raise ValueError(f'num_crops={num_crops} is not possible; set it to 1, 3, 10 or "full"')
    if num_crops == "full":
        return frames[None]
    height, width = frames.shape[-2:]
    middle = center_box((height, width), size)
    bottom, right = height - size, width - size
    if num_crops == 1:
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
    return torch.cat([crops, crops.flip(-1)]) if num_crops == 10 else crops


@dataclass(frozen=True)
class SpatialTransform:
    """How frames become the square crops of training and the views of evaluation.

    The working frame has a short side of `short_side`, in training drawn anew for each clip from
    `short_side` to `max_short_side` where that is given. From it, training takes one crop:

    - "short_side": a square of `size`, anywhere (CoST: 256 to 320, size 224);
    - "random_resized": a rectangle of random area and aspect, anywhere;
    - "multi_scale": TSN's multi-scale crop (TSN, TSM, SELFY);
    - "center": a square of `size` in the middle.

    Attributes:
        size: Side of a training crop, in pixels.
        short_side: Shorter side of the working frame, in pixels.
        train_crop: The crop of training.
        max_short_side: Upper end of the range of short sides in training.
        test_size: Side of an evaluation crop, in pixels; `size` where not given.
        aspect: Width divided by height that frames are forced to (SELFY and StNet: 4/3).
        scale: Area range of "random_resized", as a part of the working frame's area.
        ratio: Range of width divided by height of "random_resized".

    Raises:
        ValueError: If crops cannot fit in the working frame, or a setting would have no effect.
    """

    size: int = 224
    short_side: int = 256
    train_crop: TrainCrop = "short_side"
    max_short_side: int | None = None
    test_size: int | None = None
    aspect: float | None = None
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if self.train_crop not in get_args(TrainCrop):
            raise ValueError(
                f'train_crop="{self.train_crop}" is not possible; set train_crop to one of '
                f"{', '.join(get_args(TrainCrop))}"
            )
        if self.size < 1 or self.short_side < max(self.size, self.crop_size):
            raise ValueError(
                f"short_side={self.short_side} is smaller than a crop of size={self.size}, "
                f"test_size={self.crop_size}; raise short_side or lower size and test_size"
            )
        if self.max_short_side is not None and self.max_short_side < self.short_side:
            raise ValueError(
                f"max_short_side={self.max_short_side} is below short_side={self.short_side}; "
                "raise max_short_side or leave it out"
            )
        if self.max_short_side is not None and self.train_crop != "short_side":
            raise ValueError(
                f"max_short_side={self.max_short_side} has no effect on "
                f'train_crop="{self.train_crop}"; leave it out or set train_crop to "short_side"'
            )
        if self.aspect is not None and self.aspect <= 0:
            raise ValueError(f"aspect={self.aspect} is not possible; aspect must be above 0")
        for name, (low, high) in {"scale": self.scale, "ratio": self.ratio}.items():
            if not 0 < low <= high or (name == "scale" and high > 1):
                raise ValueError(
                    f"{name}=({low}, {high}) is not a range of positive numbers"
                    f"{' up to 1' if name == 'scale' else ''}; change {name}"
                )

    @property
    def crop_size(self) -> int:
        """Side of an evaluation crop, in pixels."""
        return self.size if self.test_size is None else self.test_size

    def train_box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """Random training crop, in pixels of a source frame of the given height and width."""
        short_side = self.short_side
        if self.max_short_side is not None:
            short_side = int(rng.integers(short_side, self.max_short_side + 1))
        frame = working_size(height, width, short_side, self.aspect)
        if self.train_crop == "short_side":
            box = random_box(frame, self.size, rng)
        elif self.train_crop == "random_resized":
            box = random_resized_box(frame, self.scale, self.ratio, rng)
        elif self.train_crop == "multi_scale":
            box = multi_scale_box(frame, rng)
        else:
            box = center_box(frame, self.size)
        return box.scaled(frame, (height, width))

    def train(self, frames: Tensor, rng: np.random.Generator) -> Tensor:
        """One random crop, the same for all frames.

        Args:
            frames: Decoded frames, (T, C, H, W), uint8.
            rng: Source of the random choice.

        Returns:
            (T, C, size, size), uint8.
        """
        height, width = frames.shape[-2:]
        return crop_and_resize(frames, self.train_box(height, width, rng), self.size)

    def test(self, frames: Tensor, num_crops: NumCrops = 1) -> Tensor:
        """The fixed crops of an evaluation, after resizing to `short_side`.

        Args:
            frames: Decoded frames, (T, C, H, W), uint8.
            num_crops: Which crops; see `evaluation_crops`.

        Returns:
            (number of crops, T, C, H', W'), uint8.
        """
        height, width = frames.shape[-2:]
        frame = working_size(height, width, self.short_side, self.aspect)
        resized: Tensor = tvf.resize(frames, list(frame), antialias=True)
        return evaluation_crops(resized, self.crop_size, num_crops)


def _scaled_range(start: int, length: int, source: int, target: int) -> tuple[int, int]:
    """A range of pixels carried from an axis of `source` pixels to one of `target`."""
    begin = min(round(start * target / source), target - 1)
    end = max(round((start + length) * target / source), begin + 1)
    return begin, end - begin


def _check_fits(frame: tuple[int, int], size: int) -> None:
    if size > min(frame):
        raise ValueError(
            f"a crop of {size} pixels does not fit in a frame of {frame[0]}x{frame[1]}; "
            "lower size or raise short_side"
        )
