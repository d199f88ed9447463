"""MotionShapes: coding that knows no direction of time, and the generated folder."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from rendered_clips import eroded, render

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
from datamodules.motion_shapes.rendering import CLASS_NAMES, Scene

SMALL = MotionShapesSettings(seed=3, num_train=40, num_val=8, num_test=8, num_frames=9, size=32)


def decode(file: io.BytesIO | str) -> npt.NDArray[np.uint8]:
    with av.open(file) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def fingerprint(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


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
