"""Boxes of crops: rectangles in a frame of a given size, drawn or fixed; numbers, no pixels."""

from typing import NamedTuple

import numpy as np

from datamodules.errors import UserError

__all__ = [
    "Box",
    "border_box",
    "center_box",
    "corner_box",
    "multi_scale_box",
    "random_box",
    "random_resized_box",
    "working_size",
]

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
        """Carry the box over to a frame of another size, rounded to whole pixels inside it.

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
    """Compute the height and width of a frame resized to a short side.

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
    """Draw a square of side `size` anywhere in a frame of the given height and width."""
    _check_fits(frame, size)
    top = int(rng.integers(frame[0] - size + 1))
    left = int(rng.integers(frame[1] - size + 1))
    return Box(top, left, size, size)


def center_box(frame: tuple[int, int], size: int) -> Box:
    """Center a square of side `size` in a frame of the given height and width."""
    _check_fits(frame, size)
    return Box((frame[0] - size) // 2, (frame[1] - size) // 2, size, size)


def random_resized_box(
    frame: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> Box:
    """Draw a rectangle of random area and aspect anywhere in a frame ("Inception crop").

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
    """Draw TSN's multi-scale crop: one of 10 shapes at one of 13 fixed positions.

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


def corner_box(frame: tuple[int, int], rng: np.random.Generator) -> Box:
    """Draw the multi-scale crop of two-stream networks, in a corner or the centre.

    Height and width are drawn independently from the short side times 1, .875, .75 and .66 (256 to
    168). Source: the motion stream of Feichtenhofer et al., Spatiotemporal Residual Networks,
    section 3.3.

    Args:
        frame: Height and width of the frame, in pixels.
        rng: Source of the random choice.
    """
    scales = rng.choice(MULTI_SCALE_SIDES, size=2)
    height, width = (int(min(frame) * scale) for scale in scales)
    corners = MULTI_SCALE_POSITIONS[:5]
    down, right = corners[rng.integers(len(corners))]
    return Box((frame[0] - height) // 4 * down, (frame[1] - width) // 4 * right, height, width)


def border_box(frame: tuple[int, int], size: int, rng: np.random.Generator) -> Box:
    """Draw ST-ResNet's crop: near the border, height and width jittered by a quarter.

    Each side is `size` times a factor from 0.75 to 1.25, cut to the frame; it lies at most a
    quarter of the free range away from one border or the other. Source: Feichtenhofer et al.,
    Spatiotemporal Residual Networks, section 3.3. Departure: the authors' code takes the same
    border, first or last, of both axes.

    Args:
        frame: Height and width of the frame, in pixels.
        size: Side of the crop without jitter, in pixels.
        rng: Source of the random choice.
    """
    sides, starts = [], []
    for length in frame:
        side = min(length, round(size * rng.uniform(0.75, 1.25)))
        away = int(rng.uniform(0, 0.25) * (length - side))
        sides.append(side)
        starts.append(away if rng.random() < 0.5 else length - side - away)
    return Box(starts[0], starts[1], sides[0], sides[1])


def _scaled_range(start: int, length: int, source: int, target: int) -> tuple[int, int]:
    """Carry a range of pixels from an axis of `source` pixels over to one of `target`."""
    begin = min(round(start * target / source), target - 1)
    end = max(round((start + length) * target / source), begin + 1)
    return begin, end - begin


def _check_fits(frame: tuple[int, int], size: int) -> None:
    if size > min(frame):
        raise UserError(
            f"a crop of {size} pixels does not fit in a frame of {frame[0]}x{frame[1]}; "
            "lower size or raise short_side"
        )
