"""Paint of MotionShapes: backgrounds, shapes with a texture, fields of noise.

All is computed in double precision and rounded once, so that processors whose sines differ in the
last bit paint the same pixels.

Coordinates are pixels, x to the right and y down, with pixel centres at whole numbers.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from datamodules.motion_shapes.motion import Mask, Motion

__all__ = [
    "Field",
    "Shape",
    "draw_background",
    "draw_field",
    "draw_shape",
    "paint_over",
    "refresh",
    "show_field",
]

Floats: TypeAlias = npt.NDArray[np.float64]

CELLS = 32
"""Cells of noise along a side of a frame."""


@dataclass(frozen=True)
class Field:
    """Smooth colours over the plane: a mean colour and a few low spatial frequencies.

    Attributes:
        mean: Mean colour, (3,), in [0, 1].
        waves: Amplitude of each pair of frequencies, (6, 6, 3).
    """

    mean: Floats
    waves: Floats


@dataclass(frozen=True)
class Shape:
    """A star-shaped polygon in the unit circle and its texture, in the shape's own coordinates.

    Attributes:
        corners: Corners by rising polar angle, (N, 2) as (x, y).
        base: Mean colour, (3,), in [0, 1].
        waves: Wave vectors of the texture, (2, M), in radians per radius.
        phases: Phases of the waves, (M,).
        colors: Colour that each wave adds at its crest, (M, 3).
        sharpness: Squareness of the waves: the gain before their tanh.
    """

    corners: Floats
    base: Floats
    waves: Floats
    phases: Floats
    colors: Floats
    sharpness: float


def draw_background(rng: np.random.Generator, size: int) -> Floats:
    """Draw a background at rest, (H, W, 3) in [0, 1].

    Args:
        rng: A generator of nothing else yet; that of a clip gives the clip's background.
        size: Height and width, in pixels.
    """
    (background,) = show_field(draw_field(rng), size, np.zeros((1, 2)))
    return np.asarray(background, np.float64)


def draw_field(rng: np.random.Generator) -> Field:
    """Draw smooth colours.

    Args:
        rng: The source.
    """
    mean = rng.uniform(0.25, 0.75) + rng.uniform(-0.2, 0.2, size=3)
    order = np.arange(6)
    falloff = rng.uniform(0.1, 0.2) / (1 + np.hypot(order[:, None], order)) ** 1.3
    falloff[0, 0] = 0
    # Half of the variation is common to the three colours, as in most of the world.
    waves = rng.standard_normal((6, 6, 1)) + rng.standard_normal((6, 6, 3))
    return Field(mean, waves * falloff[..., None])


def show_field(field: Field, size: int, shift: Floats) -> Floats:
    """Compute what frames show of a field.

    Args:
        field: The colours.
        size: Height and width of the frames, in pixels.
        shift: Pixels by which each frame shows the field moved, (T, 2) as (x, y).

    Returns:
        Frames, (T, H, W, 3), in [0, 1].
    """
    places = np.arange(size) + 0.5 - shift[:, :, None]  # (T, 2, size)
    basis = np.cos(np.pi * places[..., None] * np.arange(6) / size)  # (T, 2, size, 6)
    values = np.einsum("tya,txb,abc->tyxc", basis[:, 1], basis[:, 0], field.waves, optimize=True)
    shown: Floats = np.clip(field.mean + values, 0, 1)
    return shown


def draw_shape(rng: np.random.Generator, background: Floats) -> Shape:
    """Draw a polygon or ellipse with a texture that stands out from the background."""
    if rng.random() < 0.25:
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        corners = np.stack([np.cos(angles), rng.uniform(0.45, 0.7) * np.sin(angles)], axis=1)
    else:
        count = int(rng.integers(3, 8))
        angles = (np.arange(count) + rng.uniform(-0.2, 0.2, size=count)) * (2 * np.pi / count)
        radii = rng.uniform(0.65, 1.0, size=count)
        corners = (
            np.stack([np.cos(angles), np.sin(angles)], axis=1) * (radii / radii.max())[:, None]
        )
    candidates = rng.uniform(0.1, 0.9, size=(4, 3))
    base = candidates[np.argmax(np.abs(candidates - background).sum(axis=1))]
    wave_angles = rng.uniform(0, 2 * np.pi, size=3)
    lengths = 2 * np.pi / rng.uniform(0.7, 1.8, size=3)
    colors = rng.uniform(-1, 1, size=(3, 3)) + rng.uniform(-1, 1, size=(3, 1))
    return Shape(
        corners=corners,
        base=base,
        waves=(np.stack([np.cos(wave_angles), np.sin(wave_angles)]) * lengths),
        phases=rng.uniform(0, 2 * np.pi, size=3),
        colors=(0.2 * colors),
        sharpness=float(rng.uniform(1.0, 4.0)),
    )


def paint_over(canvas: Floats, shape: Shape, motion: Motion, contrast: float = 1.0) -> Mask:
    """Paint a moving shape over frames.

    Only a window around the shape is computed, of one size for all frames.

    Args:
        canvas: The frames, (T, H, W, 3), in [0, 1]; changed.
        shape: The shape.
        motion: Its motion.
        contrast: Part of the way from what was there to the shape's colours.

    Returns:
        Pixels that the shape covers by half or more, (T, H, W).
    """
    size = canvas.shape[1]
    center, angle = motion.center.astype(np.float64), motion.angle.astype(np.float64)
    scale = motion.scale.astype(np.float64)
    side = min(size, 2 * int(np.ceil(scale.max())) + 4)
    corner = np.clip(np.rint(center).astype(np.int64) - side // 2, 0, size - side)
    # Columns and rows of the windows relative to the shape's origin: (T, side, 2)
    pixels = corner[:, None] + np.arange(side)[:, None]
    offset = pixels - center[:, None]
    x, y = offset[:, None, :, 0], offset[:, :, None, 1]
    cosine = (np.cos(angle) / scale)[:, None, None]
    sine = (np.sin(angle) / scale)[:, None, None]
    own_x, own_y = cosine * x + sine * y, cosine * y - sine * x

    coverage = _coverage(shape.corners, own_x, own_y, scale)
    touched = np.nonzero(coverage)
    frame = touched[0]
    row, column = touched[1] + corner[frame, 1], touched[2] + corner[frame, 0]
    alpha = coverage[touched]
    above, below = _texture(shape, own_x[touched], own_y[touched]), canvas[frame, row, column]
    canvas[frame, row, column] = below + contrast * alpha[:, None] * (above - below)
    mask = np.zeros(canvas.shape[:3], dtype=np.bool_)
    mask[frame, row, column] = alpha >= 0.5
    return mask


def refresh(rng: np.random.Generator, masks: list[Mask], shift: Floats, share: float) -> Floats:
    """Show noise at rest, and other noise in each frame where something is.

    Every frame by itself is noise and nothing else: each of its cells is drawn by itself and
    alike, wherever anything is. Only between frames can it be told where cells are new.

    Args:
        rng: The source of noise.
        masks: Where something is, each (T, CELLS, CELLS).
        shift: Cells by which each frame shows the noise at rest moved, (T, 2) as (x, y), whole
            numbers.
        share: Share of the cells in a mask that are new in a frame.

    Returns:
        Frames of grey cells, (T, CELLS, CELLS), in [0, 1].
    """
    count, margin = len(shift), int(np.abs(shift).max())
    rest = rng.random((CELLS + 2 * margin, CELLS + 2 * margin))
    frames = np.empty((count, CELLS, CELLS))
    for t, (x, y) in enumerate(margin - np.rint(shift).astype(np.int64)):
        frames[t] = rest[y : y + CELLS, x : x + CELLS]
        new, chosen = rng.random((CELLS, CELLS)), rng.random((CELLS, CELLS)) < share
        where = chosen & np.logical_or.reduce([mask[t] for mask in masks])
        frames[t][where] = new[where]
    return frames


def _coverage(corners: Floats, x: Floats, y: Floats, scale: Floats) -> Floats:
    """Compute the part of each pixel inside a star-shaped polygon, (T, h, w), from edge distances.

    Args:
        corners: Corners by rising polar angle, (N, 2).
        x: Pixel centres in the shape's coordinates, (T, h, w).
        y: The same, downwards.
        scale: Pixels per unit of the shape's coordinates, (T,).
    """
    following = np.roll(corners, -1, axis=0)
    edge = following - corners
    length = np.hypot(edge[:, 0], edge[:, 1])
    # Outward normal (N, 2) and distance from the origin (N,) of each edge's line
    normal = np.stack([edge[:, 1], -edge[:, 0]], axis=1) / length[:, None]
    offset = (normal * corners).sum(axis=1)
    # The edge that a pixel looks at, seen from the origin: (T, h, w)
    angles = np.arctan2(corners[:, 1], corners[:, 0])
    first = int(np.argmin(angles))
    ordered = np.roll(angles, -first)
    index = np.searchsorted(ordered, np.arctan2(y, x)) - 1
    index = (index + first) % len(corners)
    distance = offset[index] - normal[index, 0] * x - normal[index, 1] * y
    coverage: Floats = np.clip(distance * scale[:, None, None] + 0.5, 0, 1)
    return coverage


def _texture(shape: Shape, x: Floats, y: Floats) -> Floats:
    """Compute the shape's colour at P points in its own coordinates, (P,) and (P,) to (P, 3)."""
    angles = x[:, None] * shape.waves[0] + y[:, None] * shape.waves[1] + shape.phases
    waves = np.tanh(shape.sharpness * np.sin(angles))
    colors: Floats = np.clip(shape.base + waves @ shape.colors, 0, 1)
    return colors
