"""One clip of MotionShapes: pixels, mask and exact motion, from a seed.

A textured shape moves over a smooth background, or, where the look is noise, a patch of new noise
over noise at rest.

Everything about a clip's look (shape, colours, texture, background, size, speed) is drawn
independently of its class; the class only chooses which motion is carried out around the middle of
the frame. Classes come in pairs that are each other's exact reversal, and a clip of a pair's second
class is a draw of its first class played backwards. So the frames of the two classes, taken one by
one, have the same distribution, and only their order tells the classes apart. The pair can be seen
without order: shapes that move lie off the middle along one axis, shapes that grow differ in size.
In noise not even that: each frame by itself is noise that tells nothing.

What makes the motion hard to see (`Scene`) is drawn apart from all else, so that the same clip can
be had at every difficulty, and is reversed with it, so that it tells no member of a pair.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from datamodules.errors import UserError
from datamodules.motion_shapes.motion import (
    Mask,
    Motion,
    draw_bystander,
    draw_camera,
    draw_motion,
)
from datamodules.motion_shapes.painting import (
    CELLS,
    Field,
    Shape,
    draw_field,
    draw_shape,
    paint_over,
    refresh,
    show_field,
)

__all__ = ["CLASS_NAMES", "Look", "RenderedClip", "Scene", "render_clip"]

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

Look = Literal["shapes", "noise"]


@dataclass(frozen=True)
class Scene:
    """Surroundings and look of the motion; the defaults are the easiest.

    Attributes:
        look: "shapes", a textured shape over smooth colours; "noise", a patch in which noise is
            drawn anew in each frame, over noise at rest, so that a single frame holds nothing.
        speed: Part of the full way, turn or growth, in (0, 1].
        contrast: Of shapes, part of the way from the background's colours to theirs; of noise,
            share of the patch that is new in a frame; in (0, 1].
        noise: Standard deviation of noise on every pixel, as part of white, in [0, 0.5].
        camera: Most that the whole picture swings along an axis, in pixels of a 64-pixel frame, in
            [0, 8].
        distractors: Other shapes, half as large, each with a motion of any class, 0 to 8.

    Raises:
        UserError: If a value is out of its range.
    """

    look: Look = "shapes"
    speed: float = 1.0
    contrast: float = 1.0
    noise: float = 0.0
    camera: float = 0.0
    distractors: int = 0

    def __post_init__(self) -> None:
        if self.look not in get_args(Look):
            looks = " or ".join(get_args(Look))
            raise UserError(f"look={self.look!r} is not possible; give {looks}")
        ranges = {"noise": (0, 0.5), "camera": (0, 8), "distractors": (0, 8)}
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                given = f"{name}={getattr(self, name)}"
                raise UserError(f"{given} is not possible; {name} must lie in [{low}, {high}]")
        for name in ("speed", "contrast"):
            if not 0 < getattr(self, name) <= 1:
                given = f"{name}={getattr(self, name)}"
                raise UserError(f"{given} is not possible; {name} must lie in (0, 1]")


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


def render_clip(
    rng: np.random.Generator,
    label: int,
    num_frames: int = 25,
    size: int = 64,
    scene: Scene = Scene(),
) -> RenderedClip:
    """Draw one clip of a class.

    Args:
        rng: Source of the look and the speed; equal generators give equal looks in all classes, and
            in the two classes of a pair the same clip, forwards and backwards.
        label: Class, an index into `CLASS_NAMES`.
        num_frames: Frames, T. The whole motion is spread over them.
        size: Height and width of the frames, in pixels; of noise a multiple of `CELLS`.
        scene: What it is seen in.
    """
    nuisance = rng.spawn(1)[0]
    field = draw_field(rng)
    surroundings = show_field(field, size, np.zeros((1, 2))).mean(axis=(0, 1, 2))
    shape = draw_shape(rng, surroundings)
    motion = draw_motion(rng, label // 2, num_frames, size, scene.speed)
    others = []
    for _ in range(scene.distractors):
        other = draw_shape(nuisance, surroundings)
        others.append((other, draw_bystander(nuisance, num_frames, size, scene.speed)))
    moving = [*others, (shape, motion)]
    if scene.camera:
        camera = draw_camera(nuisance, num_frames, scene.camera * size / 64)
        if scene.look == "noise":  # cells move as wholes
            camera = np.rint(camera * CELLS / size) * (size // CELLS)
        moving = [(one, moved.seen_by(camera)) for one, moved in moving]
    motion = moving[-1][1]
    if scene.look == "noise":
        canvas, mask = _paint_noise(nuisance, moving, size, scene.contrast)
    else:
        canvas, mask = _paint_shapes(field, moving, size, scene.contrast)
    if scene.noise:
        canvas = np.clip(canvas + nuisance.normal(0, scene.noise, canvas.shape), 0, 1)
    frames = np.rint(canvas * 255).astype(np.uint8)
    if label % 2 == 0:
        return RenderedClip(frames, mask, motion)
    return RenderedClip(frames[::-1], mask[::-1], motion.reversed())


def _paint_shapes(
    field: Field, moving: list[tuple[Shape, Motion]], size: int, contrast: float
) -> tuple[npt.NDArray[np.float64], Mask]:
    """Paint shapes, the last one in front; frames (T, H, W, 3) and its mask (T, H, W)."""
    camera = moving[-1][1].camera.astype(np.float64)
    paths = camera if camera.any() else camera[:1]
    shown = show_field(field, size, paths)
    canvas = np.broadcast_to(shown, (len(camera), *shown.shape[1:])).copy()
    masks = [paint_over(canvas, shape, motion, contrast) for shape, motion in moving]
    return canvas, masks[-1]


def _paint_noise(
    rng: np.random.Generator, moving: list[tuple[Shape, Motion]], size: int, share: float
) -> tuple[npt.NDArray[np.float64], Mask]:
    """Paint noise that is new where a shape would be; frames (T, H, W, 3) and the last one's mask.

    What a shape covers is counted in whole cells, so that none is seen divided.
    """
    side = size // CELLS
    camera = moving[-1][1].camera.astype(np.float64)
    unseen = np.zeros((len(camera), CELLS, CELLS, 3))
    masks = [paint_over(unseen, shape, motion.at_scale(1 / side)) for shape, motion in moving]
    cells = refresh(rng, masks, camera / side, share)
    canvas = cells.repeat(side, axis=1).repeat(side, axis=2)
    mask = masks[-1].repeat(side, axis=1).repeat(side, axis=2)
    return np.repeat(canvas[..., None], 3, axis=3), mask
