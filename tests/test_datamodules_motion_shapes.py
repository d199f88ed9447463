"""MotionShapes: rendering, its truth, coding that knows no direction of time, and the folder."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from datamodules.datasets.motion_shapes import MIRROR_PAIRS
from datamodules.errors import UserError
from datamodules.motion_shapes import generation
from datamodules.motion_shapes.generation import (
    FROZEN,
    MotionShapesSettings,
    digest_of_folder,
    encode_frames,
    generate_motion_shapes,
    read_motion,
)
from datamodules.motion_shapes.motion import Motion, flow_from_motion
from datamodules.motion_shapes.painting import CELLS
from datamodules.motion_shapes.rendering import CLASS_NAMES, RenderedClip, Scene, render_clip

SMALL = MotionShapesSettings(seed=3, num_train=40, num_val=8, num_test=8, num_frames=9, size=32)


def render(
    label: int, seed: int = 0, num_frames: int = 25, size: int = 64, **scene: Any
) -> RenderedClip:
    return render_clip(np.random.default_rng(seed), label, num_frames, size, Scene(**scene))


def decode(file: io.BytesIO | str) -> npt.NDArray[np.uint8]:
    with av.open(file) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def fingerprint(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def sample_bilinear(
    frame: npt.NDArray[np.uint8], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = (x - left)[:, None], (y - top)[:, None]
    upper = frame[top, left] * (1 - across) + frame[top, left + 1] * across
    lower = frame[top + 1, left] * (1 - across) + frame[top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


def eroded(mask: npt.NDArray[np.bool_], times: int) -> npt.NDArray[np.bool_]:
    for _ in range(times):
        for axis in (-1, -2):
            mask = mask & np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    return mask


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


def test_coding_a_reversed_clip_gives_exactly_the_reversed_frames() -> None:
    for label in (0, 4, 6):
        frames = render(label, seed=label).frames
        forward, backward = encode_frames(frames), encode_frames(frames[::-1])
        decoded = decode(io.BytesIO(forward))
        assert decoded.shape == frames.shape
        assert np.array_equal(decoded, decode(io.BytesIO(backward))[::-1])
        assert len(forward) < 60_000
        assert np.abs(decoded.astype(int) - frames).mean() < 5


def test_coding_treats_a_frame_alike_wherever_it_stands() -> None:
    frames = render(2).frames
    still = decode(io.BytesIO(encode_frames(np.repeat(frames[7:8], 12, axis=0))))
    assert all(np.array_equal(frame, still[0]) for frame in still)
    assert np.array_equal(still[0], decode(io.BytesIO(encode_frames(frames)))[7])
    with av.open(io.BytesIO(encode_frames(frames))) as container:
        assert all(frame.key_frame for frame in container.decode(video=0))


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("motion_shapes")
    assert generate_motion_shapes(root, SMALL, num_workers=0, progress=False) == 56
    return root


def test_lists_name_every_file_once_with_balanced_interleaved_labels(generated: Path) -> None:
    classes = (generated / "lists" / "classes.txt").read_text().splitlines()
    assert classes == [f"{label} {name}" for label, name in enumerate(CLASS_NAMES)]
    listed = []
    for split, count in {"train": 40, "val": 8, "test": 8}.items():
        lines = (generated / "lists" / f"{split}.txt").read_text().splitlines()
        rows = [line.rsplit(" ", 1) for line in lines]
        labels = [int(label) for _, label in rows]
        assert Counter(labels) == dict.fromkeys(range(8), count // 8)
        assert labels[:8] == list(range(8))
        for path, label in rows:
            assert path.split("/")[:2] == [split, CLASS_NAMES[int(label)]]
            assert (generated / path).with_suffix(".npz").is_file()
        listed += [path for path, _ in rows]
    assert sorted(listed) == sorted(str(p.relative_to(generated)) for p in generated.rglob("*.mp4"))


def test_videos_are_distinct_and_hold_the_rendered_frames_with_their_truth(generated: Path) -> None:
    videos = sorted(generated.rglob("*.mp4"))
    assert len({video.read_bytes() for video in videos}) == len(videos)
    for video in videos[::9]:
        frames = decode(str(video))
        assert frames.shape == (9, 32, 32, 3)
        mask, motion = read_motion(video)
        assert mask.shape == (9, 32, 32)
        assert mask.dtype == np.bool_
        row, column = np.nonzero(mask[4])
        assert np.hypot(column - motion.center[4, 0], row - motion.center[4, 1]).max() <= (
            motion.scale[4] + 0.5
        )
        still = eroded(~mask.any(axis=0), 3)
        assert np.abs(frames[1:, still].astype(int) - frames[0, still]).mean() < 3


def test_manifest_records_settings_and_versions(generated: Path) -> None:
    manifest = json.loads((generated / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["format"] == 2
    assert manifest["settings"]["scene"] == asdict(Scene())
    assert manifest["settings"]["num_train"] == 40
    assert manifest["versions"]["av"] == av.__version__


def test_complete_folder_is_left_alone(generated: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in generated.rglob("*")}
    assert generate_motion_shapes(generated, SMALL, num_workers=0, progress=False) == 0
    assert {path: path.stat().st_mtime_ns for path in generated.rglob("*")} == before


def test_files_do_not_depend_on_the_number_of_workers(generated: Path, tmp_path: Path) -> None:
    assert generate_motion_shapes(tmp_path, SMALL, num_workers=2, progress=False) == 56
    assert fingerprint(tmp_path) == fingerprint(generated)


def test_interrupted_generation_leaves_whole_files_and_continues(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def interrupted(frames: npt.NDArray[np.uint8]) -> bytes:
        nonlocal calls
        calls += 1
        if calls > 13:
            raise KeyboardInterrupt
        return encode_frames(frames)

    monkeypatch.setattr(generation, "encode_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate_motion_shapes(tmp_path, SMALL, num_workers=0, progress=False)
    monkeypatch.undo()
    assert json.loads((tmp_path / "manifest.json").read_text())["complete"] is False
    assert not list(tmp_path.rglob("*.tmp"))
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert len(written) == 13

    assert generate_motion_shapes(tmp_path, SMALL, num_workers=0, progress=False) == 43
    assert fingerprint(tmp_path) == fingerprint(generated)
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_interrupted_write_leaves_no_part_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if target.suffix == ".mp4":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate_motion_shapes(tmp_path, SMALL, num_workers=0, progress=False)
    suffixes = Counter(path.suffix for path in tmp_path.rglob("*") if path.is_file())
    assert suffixes == {".json": 1, ".txt": 4, ".npz": 1}


def test_failing_worker_process_ends_the_generation_with_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "train" / "grow").mkdir(parents=True)
    manifest = tmp_path / "manifest.json"
    generation._write_manifest(manifest, SMALL, None)
    # A folder where a file is to be written.
    (tmp_path / "train" / "grow" / "grow_00000.npz").mkdir()
    with pytest.raises(RuntimeError, match="ended with exit code 1"):
        generate_motion_shapes(tmp_path, SMALL, num_workers=2, progress=False)
    assert json.loads(manifest.read_text())["complete"] is False


INTERRUPTED_SCRIPT = """
import signal, sys
from pathlib import Path
from datamodules.motion_shapes.generation import MotionShapesSettings, generate_motion_shapes
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    generate_motion_shapes(Path(sys.argv[1]), MotionShapesSettings(), num_workers=2, progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 3])
def test_ctrl_c_ends_all_processes_at_once_with_whole_files(tmp_path: Path, presses: int) -> None:
    script, root = tmp_path / "generate.py", tmp_path / "data"
    script.write_text(INTERRUPTED_SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(root)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(list(root.rglob("*.mp4"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(presses):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)
    assert process.wait(timeout=20) != 0
    written = len(list(root.rglob("*.mp4")))
    time.sleep(1)
    assert 20 <= written < 3200
    assert len(list(root.rglob("*.mp4"))) == written
    assert not list(root.rglob(".*.tmp"))
    for video in list(root.rglob("*.mp4"))[::10]:
        assert len(decode(str(video))) == len(read_motion(video)[0]) == 25


def test_other_settings_are_refused_with_the_difference(generated: Path) -> None:
    other = MotionShapesSettings(seed=4, num_train=48, num_val=8, num_test=8, num_frames=9, size=32)
    with pytest.raises(
        ValueError, match=r"seed=3, num_train=40 where seed=4, num_train=48 was asked; give another"
    ):
        generate_motion_shapes(generated, other, progress=False)


def test_foreign_folders_are_refused_and_left_alone(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not empty and holds no MotionShapes manifest"):
        generate_motion_shapes(notes, SMALL, progress=False)
    assert [path.name for path in notes.iterdir()] == ["thesis.txt"]
    with pytest.raises(ValueError, match=r"thesis.txt is a file; give a new or empty folder"):
        generate_motion_shapes(notes / "thesis.txt", SMALL, progress=False)
    (notes / "manifest.json").write_text('{"complete": true}')
    with pytest.raises(ValueError, match="was not written by MotionShapes"):
        generate_motion_shapes(notes, SMALL, progress=False)


def test_negative_number_of_workers_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_workers=-1 is not possible"):
        generate_motion_shapes(tmp_path, SMALL, num_workers=-1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train": 100}, "num_train=100 cannot be shared evenly by 8 classes"),
        ({"num_val": 0}, "num_val=0"),
        ({"num_frames": 7}, "num_frames=7 is not possible"),
        ({"size": 65}, "size=65 is not possible"),
        ({"seed": -1}, "seed=-1 is not possible"),
    ],
)
def test_settings_refuse_what_cannot_be_made(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MotionShapesSettings(**arguments)


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


def test_noise_needs_whole_cells() -> None:
    with pytest.raises(UserError, match="size=48 is not possible for noise"):
        MotionShapesSettings(size=48, scene=Scene(look="noise"))


def test_digest_is_the_same_on_every_machine(generated: Path) -> None:
    """Painted in double precision: processors whose sines differ in the last bit agree."""
    manifest = json.loads((generated / "manifest.json").read_text())
    assert manifest["digest"] == digest_of_folder(generated, SMALL)
    assert manifest["digest"] == (
        "d283becab60815d00d7d79d62f6432ad3d642a0e282e0b00f9db3606b8210c8b"
    )


def test_other_clips_than_the_frozen_ones_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = MotionShapesSettings(num_train=8, num_val=8, num_test=8, num_frames=8, size=32)
    monkeypatch.setitem(FROZEN, tiny, "0" * 64)
    with pytest.warns(UserWarning, match="are not MotionShapes v1's: this machine paints others"):
        generate_motion_shapes(tmp_path, tiny, num_workers=0, progress=False)
