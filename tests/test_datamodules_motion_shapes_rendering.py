"""MotionShapes: rendering and its truth, the motion."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rendered_clips import eroded, render

from datamodules.datasets.motion_shapes import MIRROR_PAIRS
from datamodules.errors import UserError
from datamodules.motion_shapes.motion import Motion, flow_from_motion
from datamodules.motion_shapes.painting import CELLS
from datamodules.motion_shapes.rendering import CLASS_NAMES, Scene


def sample_bilinear(
    frame: npt.NDArray[np.uint8], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = (x - left)[:, None], (y - top)[:, None]
    upper = frame[top, left] * (1 - across) + frame[top, left + 1] * across
    lower = frame[top + 1, left] * (1 - across) + frame[top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


def test_second_class_of_each_pair_is_the_first_played_backwards() -> None:
    for first in range(0, len(CLASS_NAMES), 2):
        forward, backward = render(first, seed=first), render(first + 1, seed=first)
        assert np.array_equal(forward.frames, backward.frames[::-1])
        assert np.array_equal(forward.mask, backward.mask[::-1])
        assert np.array_equal(forward.motion.center, backward.motion.center[::-1])
        assert not np.array_equal(forward.frames, backward.frames)


def test_look_does_not_depend_on_the_class() -> None:
    for seed in range(5):
        middles = [render(label, seed).frames[12] for label in range(len(CLASS_NAMES))]
        assert all(np.array_equal(middle, middles[0]) for middle in middles)


def test_single_frames_tell_the_pair_but_not_the_member() -> None:
    # off the middle along x, along y, and change of size, each over the frames of a centred window
    cues = np.zeros((len(CLASS_NAMES), 3))
    for label in range(len(CLASS_NAMES)):
        for seed in range(40):
            motion = render(label, seed).motion
            window = slice(5, 20, 2)
            off = np.abs(motion.center[window] - motion.center[12]).mean(axis=0)
            growth = np.abs(np.log(motion.scale[window] / motion.scale[12])).mean()
            cues[label] += [*off / 40, growth / 40]
    assert np.allclose(cues[0::2], cues[1::2], rtol=1e-5)
    assert cues[0, 0] > 4 * cues[0, 1]
    assert cues[2, 1] > 4 * cues[2, 0]
    assert np.allclose(cues[4], 0, atol=1e-6)
    assert cues[6, 2] > 0.1


def test_shape_stays_inside_the_frame_and_is_large_enough() -> None:
    for seed in range(60):
        clip = render(seed % 8, seed)
        border = np.ones((64, 64), dtype=bool)
        border[1:-1, 1:-1] = False
        assert not clip.mask[:, border].any()
        assert clip.mask.sum(axis=(1, 2)).min() > 20


@pytest.mark.parametrize("label", range(8))
def test_motion_is_clear_within_any_eight_frames_at_stride_two(label: int) -> None:
    for seed in range(20):
        motion = render(label, seed).motion
        for start in range(25 - 15 + 1):
            first, last = start, start + 14
            right, down = motion.center[last] - motion.center[first]
            turn = motion.angle[last] - motion.angle[first]
            growth = motion.scale[last] / motion.scale[first]
            amount = {
                "move_left": -right / 10,
                "move_right": right / 10,
                "move_up": -down / 10,
                "move_down": down / 10,
                "turn_clockwise": turn / 1.0,
                "turn_anticlockwise": -turn / 1.0,
                "grow": growth / 1.35,
                "shrink": 1 / growth / 1.35,
            }
            assert amount[CLASS_NAMES[label]] >= 1
            # Half a turn or more between two sampled frames would be ambiguous.
            assert abs(motion.angle[2] - motion.angle[0]) < 0.5


def test_mask_agrees_with_the_pixels() -> None:
    for seed in range(24):
        clip = render(seed % 8, seed)
        # Nowhere near the shape (a sharp corner fades over 3 pixels): background at rest.
        never = eroded(~clip.mask.any(axis=0), 3)
        assert np.array_equal(
            clip.frames[:, never], np.broadcast_to(clip.frames[0, never], (25, never.sum(), 3))
        )
        # Pixels that are background in one frame and shape in another differ.
        background, shape = eroded(~clip.mask[0], 1), eroded(clip.mask[-1], 1)
        both = background & shape
        if both.sum() >= 10:
            change = clip.frames[0, both].astype(int) - clip.frames[-1, both]
            assert np.abs(change).sum(axis=-1).mean() > 30


@pytest.mark.parametrize("label", range(8))
def test_flow_carries_each_frame_of_the_shape_onto_the_next(label: int) -> None:
    errors, changes = [], []
    for seed in range(4):
        clip = render(label, seed, size=128)
        flow = flow_from_motion(clip.motion, clip.mask)
        assert flow.shape == (24, 2, 128, 128)
        assert flow.dtype == np.float32
        for t in range(0, 24, 5):
            y, x = np.nonzero(eroded(clip.mask[t], 2))
            right, down = flow[t, :, y, x].T.astype(np.float64)
            landed = sample_bilinear(clip.frames[t + 1], x + right, y + down)
            assert clip.mask[t + 1][
                np.rint(y + down).astype(int), np.rint(x + right).astype(int)
            ].all()
            errors.append(np.abs(landed - clip.frames[t, y, x]).mean())
            changes.append(
                np.abs(clip.frames[t + 1, y, x] - clip.frames[t, y, x].astype(float)).mean()
            )
    assert np.mean(errors) < 1.5
    assert np.mean(errors) < np.mean(changes) / 3


def test_flow_of_known_motions_is_exact_and_rests_outside_the_shape() -> None:
    mask = np.zeros((2, 5, 5), dtype=bool)
    mask[0, 2, 3] = True
    still = np.zeros(2, dtype=np.float32)
    center = np.full((2, 2), 2, dtype=np.float32)
    moved = np.array([[2, 2], [3, 1.5]], dtype=np.float32)
    quarter = np.array([0, np.pi / 2], dtype=np.float32)
    at_rest = np.zeros((2, 2), dtype=np.float32)
    one, double = np.ones(2, dtype=np.float32), np.array([1, 2], dtype=np.float32)
    cases = [
        (Motion(moved, still, one, at_rest), (1, -0.5)),
        # Clockwise, a point right of the centre comes to lie below it.
        (Motion(center, quarter, one, at_rest), (-1, 1)),
        (Motion(center, still, double, at_rest), (1, 0)),
    ]
    for motion, expected in cases:
        flow = flow_from_motion(motion, mask)
        assert flow[0, :, 2, 3] == pytest.approx(expected, abs=1e-6)
        flow[0, :, 2, 3] = 0
        assert not flow.any()
    swung = np.array([[0, 0], [2, -1]], dtype=np.float32)
    flow = flow_from_motion(Motion(center + swung, still, one, swung), mask)
    assert (flow[0] == np.array([2, -1])[:, None, None]).all()


def test_mirror_pairs_name_the_class_of_the_mirror_image() -> None:
    def direction(motion: Motion, mirrored: bool) -> tuple[int, ...]:
        sign = -1 if mirrored else 1
        right, down = motion.center[-1] - motion.center[0]
        along = [sign * right, 0] if abs(right) > abs(down) else [0, down]
        turn, growth = (
            sign * (motion.angle[-1] - motion.angle[0]),
            motion.scale[-1] - motion.scale[0],
        )
        return tuple(int(np.sign(value)) for value in (*along, turn, growth))

    by_direction = {direction(render(label).motion, False): label for label in range(8)}
    assert len(by_direction) == 8
    names = dict(MIRROR_PAIRS) | {b: a for a, b in MIRROR_PAIRS}
    for label, name in enumerate(CLASS_NAMES):
        mirrored = by_direction[direction(render(label).motion, True)]
        assert CLASS_NAMES[mirrored] == names.get(name, name)


SCENES: list[dict[str, Any]] = [
    {"look": "noise"},
    {"speed": 0.25},
    {"contrast": 0.2},
    {"noise": 0.1},
    {"camera": 6.0},
    {"distractors": 3},
    {"look": "noise", "camera": 4.0, "distractors": 2, "contrast": 0.5, "noise": 0.05},
]


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_scenes_are_reversed_with_the_motion_and_change_neither_look_nor_class(
    scene: dict[str, Any],
) -> None:
    for label in (0, 5):
        clip, partner = render(label, 3, **scene), render(label ^ 1, 3, **scene)
        assert np.array_equal(clip.frames, partner.frames[::-1])
        assert np.array_equal(clip.mask, partner.mask[::-1])
        plain = render(label, 3)
        assert not np.array_equal(clip.frames, plain.frames)
        if "speed" not in scene:  # the same motion, apart from the camera
            own = clip.motion.center - clip.motion.camera
            np.testing.assert_allclose(own, plain.motion.center, atol=1e-4)


def test_speed_contrast_and_noise_do_what_they_say() -> None:
    plain = render(0, 1)
    way, slow = (np.ptp(c.motion.center[:, 0]) for c in (plain, render(0, 1, speed=0.25)))
    assert slow == pytest.approx(way / 4, rel=1e-4)
    behind = render(0, 1, contrast=1e-9).frames.astype(int)
    inside = eroded(plain.mask, 1)
    full, half = (c.frames[inside] - behind[inside] for c in (plain, render(0, 1, contrast=0.5)))
    assert np.abs(half * 2 - full).max() <= 3
    noisy = render(0, 1, noise=0.1).frames.astype(float) - plain.frames
    assert noisy.std() == pytest.approx(25.5, rel=0.1)
    assert abs(np.corrcoef(noisy[0].ravel(), noisy[1].ravel())[0, 1]) < 0.05, "drawn in each frame"


def test_camera_moves_background_and_shape_alike() -> None:
    clip = render(4, 2, size=128, camera=6.0)
    assert np.abs(clip.motion.camera).max() == pytest.approx(12, rel=1e-5)
    flow, errors, rests = flow_from_motion(clip.motion, clip.mask), [], []
    for t in range(0, 24, 4):
        where = eroded(~clip.mask[t] & ~clip.mask[t + 1], 4)
        where[:16] = where[-16:] = where[:, :16] = where[:, -16:] = False
        y, x = np.nonzero(where)
        right, down = flow[t, :, y, x].T.astype(np.float64)
        landed = sample_bilinear(clip.frames[t + 1], x + right, y + down)
        errors.append(np.abs(landed - clip.frames[t, y, x]).mean())
        rests.append(np.abs(clip.frames[t + 1, y, x].astype(float) - clip.frames[t, y, x]).mean())
    assert np.mean(errors) < 0.6
    assert np.mean(errors) < np.mean(rests) / 2


def test_a_single_frame_of_noise_tells_nothing() -> None:
    """Every cell of a frame is drawn by itself and alike, in the patch and out of it."""
    size, side = 64, 64 // CELLS
    inside, outside, beside = [], [], []
    for seed in range(40):
        clip = render(seed % 8, seed, look="noise")
        cells = clip.frames[:, ::side, ::side, 0].astype(float)
        assert np.array_equal(cells.repeat(side, 1).repeat(side, 2), clip.frames[..., 0])
        patch = clip.mask[:, ::side, ::side]
        assert np.array_equal(patch.repeat(side, 1).repeat(side, 2), clip.mask)
        inside += cells[12][patch[12]].tolist()
        outside += cells[12][~patch[12]].tolist()
        edge = patch[12, :, :-1] & ~patch[12, :, 1:]
        beside += list(zip(cells[12, :, :-1][edge], cells[12, :, 1:][edge], strict=True))
        fresh = np.diff(cells, axis=0) != 0
        union = patch[:-1] | patch[1:]
        assert not fresh[~union].any(), "new outside the patch"
        assert fresh[union].mean() > 0.9
    assert size == clip.frames.shape[1]
    assert len(inside) > 1500
    for q in (10, 25, 50, 75, 90):
        assert np.percentile(inside, q) == pytest.approx(np.percentile(outside, q), abs=8)
    assert abs(np.corrcoef(np.array(beside).T)[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        ({"look": "fog"}, "look='fog' is not possible; give shapes or noise"),
        ({"speed": 0}, "speed=0 is not possible; speed must lie in (0, 1]"),
        ({"contrast": 1.5}, "contrast=1.5 is not possible; contrast must lie in (0, 1]"),
        ({"noise": -0.1}, "noise=-0.1 is not possible; noise must lie in [0, 0.5]"),
        ({"camera": float("nan")}, "camera=nan is not possible"),
        ({"distractors": 9}, "distractors=9 is not possible"),
    ],
)
def test_scenes_out_of_range_are_refused(scene: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        Scene(**scene)
