"""Motion of MotionShapes: drawn for a pair of classes, reversed, and as optical flow.

Coordinates are pixels, x to the right and y down, with pixel centres at whole numbers; angles are
in radians and grow clockwise on the screen.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Mask", "Motion", "draw_bystander", "draw_camera", "draw_motion", "flow_from_motion"]

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
        camera: Pixels by which the background is shown moved, (T, 2) as (x, y); `center` has moved
            with it.
    """

    center: Floats
    angle: Floats
    scale: Floats
    camera: Floats

    def reversed(self) -> "Motion":
        """Reverse the motion, as in the clip played backwards."""
        return Motion(self.center[::-1], self.angle[::-1], self.scale[::-1], self.camera[::-1])

    def seen_by(self, camera: npt.NDArray[np.float64]) -> "Motion":
        """Move all with a camera.

        Args:
            camera: Pixels, (T, 2) as (x, y).
        """
        center = (self.center + camera).astype(np.float32)
        return Motion(center, self.angle, self.scale, camera.astype(np.float32))

    def at_scale(self, factor: float) -> "Motion":
        """Give the motion in frames of another size.

        Args:
            factor: Its side, as a part of this one's.
        """
        center = ((self.center + 0.5) * factor - 0.5).astype(np.float32)
        scale = (self.scale * factor).astype(np.float32)
        return Motion(center, self.angle, scale, (self.camera * factor).astype(np.float32))


def draw_motion(
    rng: np.random.Generator, pair: int, num_frames: int, size: int, speed: float = 1.0
) -> Motion:
    """Draw the motion of a pair's first class, at a random speed, always inside the frame.

    All numbers are drawn for all classes, so that equal generators give equal middles.

    Args:
        rng: The source.
        pair: Index of the pair of classes.
        num_frames: T.
        size: Height and width of the frames, in pixels.
        speed: Part of the way, turn or growth (in logarithms) that is made in the clip.
    """
    unit = size / 64
    radius = unit * rng.uniform(*RADIUS)
    travel = unit * rng.uniform(*TRAVEL)
    turn, growth = rng.uniform(*TURN), rng.uniform(*GROWTH)
    tilt, start_angle = rng.uniform(-TILT, TILT), rng.uniform(0, 2 * np.pi)
    middle = (size - 1) / 2 + unit * rng.uniform(-MIDDLE, MIDDLE, size=2)

    time = speed * np.linspace(-0.5, 0.5, num_frames)
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
    return Motion(
        center.astype(np.float32),
        angle.astype(np.float32),
        scale.astype(np.float32),
        np.zeros((num_frames, 2), np.float32),
    )


def draw_bystander(rng: np.random.Generator, num_frames: int, size: int, speed: float) -> Motion:
    """Draw a motion that tells nothing: of any class, half as large, anywhere in the frame.

    Args:
        rng: The source.
        num_frames: T.
        size: Height and width of the frames, in pixels.
        speed: See `draw_motion`.
    """
    pair, is_reversed = int(rng.integers(4)), rng.random() < 0.5
    drawn = draw_motion(rng, pair, num_frames, size, speed)
    moved = rng.uniform(0, size - 1, size=2) - (size - 1) / 2
    center = (drawn.center + moved).astype(np.float32)
    motion = Motion(center, drawn.angle, drawn.scale * np.float32(0.5), drawn.camera)
    return motion.reversed() if is_reversed else motion


def draw_camera(rng: np.random.Generator, num_frames: int, reach: float) -> npt.NDArray[np.float64]:
    """Draw a smooth path, (T, 2) as (x, y): one or two slow swings along each axis.

    Args:
        rng: The source.
        num_frames: T.
        reach: Most distance from the middle along an axis, in pixels.
    """
    time = np.linspace(0, 2 * np.pi, num_frames)[:, None]
    turns, phases = rng.uniform(0.5, 1.5, size=(2, 2)), rng.uniform(0, 2 * np.pi, size=(2, 2))
    path = np.sin(turns[0] * time + phases[0]) + np.sin(turns[1] * time + phases[1])
    path -= path.mean(axis=0)
    camera: npt.NDArray[np.float64] = path * (reach / np.abs(path).max(axis=0))
    return camera


def flow_from_motion(motion: Motion, mask: Mask) -> Floats:
    """Compute the exact optical flow from each frame to the next.

    A pixel p of the shape moves to c' + (s'/s) R(a' - a) (p - c), where (c, a, s) and (c', a', s')
    are centre, angle and scale in the two frames; the background moves with the camera.

    Args:
        motion: Motion of the shape over T frames.
        mask: Pixels of the shape, (T, H, W).

    Returns:
        Flow in pixels, (T - 1, 2, H, W): to the right, then down.
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
    flow = np.empty((len(turn), 2, *mask.shape[1:]), dtype=np.float32)
    flow[:] = np.diff(motion.camera, axis=0)[..., None, None]
    flow[frame, 0, row, column] = to_x - column
    flow[frame, 1, row, column] = to_y - row
    return flow
