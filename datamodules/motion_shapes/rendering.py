"""One textured shape moving over a smooth background: pixels, mask and exact motion, from a seed.

Everything about a clip's look (shape, colours, texture, background, size, speed) is drawn
independently of its class; the class only chooses which motion is carried out around the middle of
the frame. Classes come in pairs that are each other's exact reversal, and a clip of a pair's second
class is a draw of its first class played backwards. So the frames of the two classes, taken one by
one, have the same distribution, and only their order tells the classes apart. The pair can be seen
without order: shapes that move lie off the middle along one axis, shapes that grow differ in size.

Coordinates are pixels, x to the right and y down, with pixel centres at whole numbers; angles are
in radians and grow clockwise on the screen.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "CLASS_NAMES",
    "Motion",
    "RenderedClip",
    "draw_background",
    "flow_from_motion",
    "render_clip",
]

CLASS_NAMES = (
    "move_left",
    "move_right",
    "move_up",
    "move_down",
    "turn_clockwise",
    "turn_anticlockwise",
    "grow",
    "shrink",
)

Floats: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]

# Over the whole clip: pixels of a 64-pixel frame, radians, and factor.
TRAVEL = (24.0, 32.0)
TURN = (np.radians(110.0), np.radians(200.0))
GROWTH = (2.8, 4.0)
# In the middle of the clip, in pixels of a 64-pixel frame.
RADIUS = (9.0, 10.5)
MIDDLE = 2.5  # most distance of the motion's middle from the frame's, along an axis
TILT = np.radians(12.0)


@dataclass(frozen=True)
class Motion:
    """Motion of the shape: in each frame, a similarity transform of its own coordinates.

    Attributes:
        center: Position of the shape's origin, (T, 2) as (x, y), in pixels.
        angle: Angle that the shape is turned by, (T,), in radians, clockwise.
        scale: Radius of the circle around the origin that holds the shape, (T,), in pixels.
    """

    center: Floats
    angle: Floats
    scale: Floats

    def reversed(self) -> "Motion":
        """Reverse the motion, as in the clip played backwards."""
        return Motion(self.center[::-1], self.angle[::-1], self.scale[::-1])


@dataclass(frozen=True)
class RenderedClip:
    """A clip and the truth about it.

    Attributes:
        frames: RGB frames, (T, H, W, 3), uint8.
        mask: Pixels that the shape covers by half or more, (T, H, W).
        motion: Motion of the shape.
    """

    frames: npt.NDArray[np.uint8]
    mask: Mask
    motion: Motion


@dataclass(frozen=True)
class _Shape:
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


def render_clip(
    rng: np.random.Generator, label: int, num_frames: int = 25, size: int = 64
) -> RenderedClip:
    """Draw one clip of a class.

    Args:
        rng: Source of the look and the speed; equal generators give equal looks in all classes, and
            in the two classes of a pair the same clip, forwards and backwards.
        label: Class, an index into `CLASS_NAMES`.
        num_frames: Frames, T. The whole motion is spread over them.
        size: Height and width of the frames, in pixels.
    """
    background = draw_background(rng, size)
    shape = _draw_shape(rng, background.mean(axis=(0, 1)))
    motion = _draw_motion(rng, label // 2, num_frames, size)
    frames, mask = _paint(shape, motion, background)
    if label % 2 == 0:
        return RenderedClip(frames, mask, motion)
    return RenderedClip(frames[::-1], mask[::-1], motion.reversed())


def flow_from_motion(motion: Motion, mask: Mask) -> Floats:
    """Compute the exact optical flow from each frame to the next.

    A pixel p of the shape moves to c' + (s'/s) R(a' - a) (p - c), where (c, a, s) and (c', a', s')
    are centre, angle and scale in the two frames; the background rests.

    Args:
        motion: Motion of the shape over T frames.
        mask: Pixels of the shape, (T, H, W).

    Returns:
        Flow in pixels, (T - 1, 2, H, W): to the right, then down; 0 outside the shape.
    """
    turn = np.diff(motion.angle)
    ratio = motion.scale[1:] / motion.scale[:-1]
    cosine, sine = ratio * np.cos(turn), ratio * np.sin(turn)
    # (T, H, W) -> rows and columns of the P shape pixels of frames 0 to T - 2
    frame, row, column = np.nonzero(mask[:-1])
    x = column - motion.center[frame, 0]
    y = row - motion.center[frame, 1]
    to_x = motion.center[frame + 1, 0] + cosine[frame] * x - sine[frame] * y
    to_y = motion.center[frame + 1, 1] + sine[frame] * x + cosine[frame] * y
    flow = np.zeros((len(turn), 2, *mask.shape[1:]), dtype=np.float32)
    flow[frame, 0, row, column] = to_x - column
    flow[frame, 1, row, column] = to_y - row
    return flow


def draw_background(rng: np.random.Generator, size: int) -> Floats:
    """Draw smooth colours, (H, W, 3) in [0, 1]: a mean colour and a few low spatial frequencies.

    Args:
        rng: A generator of nothing else yet; that of a clip gives the clip's background.
        size: Height and width, in pixels.
    """
    mean = rng.uniform(0.25, 0.75) + rng.uniform(-0.2, 0.2, size=3)
    order = np.arange(6)
    falloff = rng.uniform(0.1, 0.2) / (1 + np.hypot(order[:, None], order)) ** 1.3
    falloff[0, 0] = 0
    # Half of the variation is common to the three colours, as in most of the world.
    waves = rng.standard_normal((6, 6, 1)) + rng.standard_normal((6, 6, 3))
    waves *= falloff[..., None]
    basis = np.cos(np.pi * np.outer(np.arange(size) + 0.5, order) / size)
    field = np.einsum("ya,xb,abc->yxc", basis, basis, waves, optimize=True)
    background: Floats = np.clip(mean + field, 0, 1).astype(np.float32)
    return background


def _draw_shape(rng: np.random.Generator, background: Floats) -> _Shape:
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
    return _Shape(
        corners=corners.astype(np.float32),
        base=base.astype(np.float32),
        waves=(np.stack([np.cos(wave_angles), np.sin(wave_angles)]) * lengths).astype(np.float32),
        phases=rng.uniform(0, 2 * np.pi, size=3).astype(np.float32),
        colors=(0.2 * colors).astype(np.float32),
        sharpness=float(rng.uniform(1.0, 4.0)),
    )


def _draw_motion(rng: np.random.Generator, pair: int, num_frames: int, size: int) -> Motion:
    """Draw the motion of a pair's first class, at a random speed, always inside the frame.

    All numbers are drawn for all classes, so that equal generators give equal middles.
    """
    unit = size / 64
    radius = unit * rng.uniform(*RADIUS)
    travel = unit * rng.uniform(*TRAVEL)
    turn, growth = rng.uniform(*TURN), rng.uniform(*GROWTH)
    tilt, start_angle = rng.uniform(-TILT, TILT), rng.uniform(0, 2 * np.pi)
    middle = (size - 1) / 2 + unit * rng.uniform(-MIDDLE, MIDDLE, size=2)

    time = np.linspace(-0.5, 0.5, num_frames)
    center = np.tile(middle, (num_frames, 1))
    angle = np.full(num_frames, start_angle)
    scale = np.full(num_frames, radius)
    if pair == 0:
        center += travel * time[:, None] * (-np.cos(tilt), np.sin(tilt))
    elif pair == 1:
        center += travel * time[:, None] * (np.sin(tilt), -np.cos(tilt))
    elif pair == 2:
        angle += turn * time
    else:
        scale *= growth**time
    return Motion(center.astype(np.float32), angle.astype(np.float32), scale.astype(np.float32))


def _paint(shape: _Shape, motion: Motion, background: Floats) -> tuple[npt.NDArray[np.uint8], Mask]:
    """Paint frames (T, H, W, 3) and mask (T, H, W) of a shape moving over a background.

    Only a window around the shape is computed, of one size for all frames.
    """
    num_frames, size = len(motion.angle), len(background)
    side = min(size, 2 * int(np.ceil(motion.scale.max())) + 4)
    corner = np.clip(np.rint(motion.center).astype(np.int64) - side // 2, 0, size - side)
    # Columns and rows of the windows relative to the shape's origin: (T, side, 2)
    pixels = corner[:, None] + np.arange(side)[:, None]
    offset = (pixels - motion.center[:, None]).astype(np.float32)
    x, y = offset[:, None, :, 0], offset[:, :, None, 1]
    cosine: Floats = np.divide(np.cos(motion.angle), motion.scale)[:, None, None]
    sine: Floats = np.divide(np.sin(motion.angle), motion.scale)[:, None, None]
    own_x, own_y = cosine * x + sine * y, cosine * y - sine * x

    coverage = _coverage(shape.corners, own_x, own_y, motion.scale)
    touched = np.nonzero(coverage)
    frame = touched[0]
    row, column = touched[1] + corner[frame, 1], touched[2] + corner[frame, 0]
    alpha = coverage[touched]
    above, below = _texture(shape, own_x[touched], own_y[touched]), background[row, column]
    frames = np.repeat(np.rint(background * 255).astype(np.uint8)[None], num_frames, axis=0)
    frames[frame, row, column] = np.rint((below + alpha[:, None] * (above - below)) * 255)
    mask = np.zeros((num_frames, size, size), dtype=np.bool_)
    mask[frame, row, column] = alpha >= 0.5
    return frames, mask


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


def _texture(shape: _Shape, x: Floats, y: Floats) -> Floats:
    """Compute the shape's colour at P points in its own coordinates, (P,) and (P,) to (P, 3)."""
    angles = x[:, None] * shape.waves[0] + y[:, None] * shape.waves[1] + shape.phases
    waves = np.tanh(np.float32(shape.sharpness) * np.sin(angles))
    colors: Floats = np.clip(shape.base + waves @ shape.colors, 0, 1)
    return colors
