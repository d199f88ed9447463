"""`kinetoscope flow`: a whole folder, stopped, continued, shared, with broken videos."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.optical_flow import raft_small

from datamodules.flow.coding import FlowCoding
from datamodules.flow.extraction import FlowExtraction
from datamodules.flow.folder import read_flow_settings
from datamodules.flow.methods import make_flow_method
from datamodules.flow.reading import open_flow
from datamodules.jobs import dataset_jobs
from datamodules.motion_shapes.generation import MotionShapesSettings, generate_motion_shapes
from datamodules.video.reader import VideoReader
from lightning_modules.cli import main

pytest.importorskip("cv2", reason="needs the extra `flow`")

OPTIONS = ["--method", "dis", "--short_side", "64", "--workers", "0"]
NUM_VIDEOS, NUM_FRAMES = 6, 25


@pytest.fixture
def source(motion_root: Path, tmp_path: Path) -> Path:
    """Six videos in two class folders."""
    for name in ("grow", "move_up"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for video in sorted((motion_root / "train" / name).glob("*.mp4"))[: NUM_VIDEOS // 2]:
            shutil.copy(video, tmp_path / "videos" / name)
    return tmp_path / "videos"


def run(source: Path, target: Path, *options: str) -> int:
    """Exit code of the command."""
    try:
        main(["flow", str(source), str(target), *OPTIONS, *options])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def stored(target: Path) -> dict[str, int]:
    """Folders of finished videos and when they were finished."""
    found = target.glob("*/*/flow.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


@pytest.mark.parametrize("storage", ["jpeg", "video"])
def test_stored_flow_is_that_of_the_method(storage: str, source: Path, tmp_path: Path) -> None:
    assert run(source, tmp_path / "flow", "--storage", storage, "--bound", "2") == 0

    video = sorted(source.glob("move_up/*.mp4"))[1]
    with VideoReader(video) as reader:
        frames = reader.get_frames(range(NUM_FRAMES)).permute(0, 2, 3, 1).numpy()
    expected = FlowCoding(2).encode(make_flow_method("dis").estimate(frames))
    with open_flow(tmp_path / "flow" / video.parent.name / video.stem, NUM_FRAMES) as flow_reader:
        codes = flow_reader.get_flow(range(NUM_FRAMES - 1)).numpy()
    error = np.abs(codes.astype(int) - expected)
    assert expected.std() > 5
    assert error.max() <= 16
    assert error.mean() < 0.5
    assert read_flow_settings(tmp_path / "flow").bound == 2


def test_second_run_finds_nothing_to_do(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "flow"
    assert run(source, target) == 0
    before = stored(target)
    assert len(before) == NUM_VIDEOS
    assert "6 videos, 0 there already, 6 to do\n6 of 6 videos done" in capsys.readouterr().out

    assert run(source, target) == 0

    assert stored(target) == before
    assert "6 videos, 6 there already, 0 to do" in capsys.readouterr().out


def test_damaged_flow_is_made_again(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "flow"
    run(source, target)
    before = stored(target)
    (broken := next(target.glob("*/*/flow_y.mp4"))).unlink()

    assert run(source, target) == 0

    assert broken.exists()
    changed = [name for name, when in stored(target).items() if when != before[name]]
    assert changed == [broken.parent.name]
    assert [path.name for path in (target / ".partial").iterdir()] == ["lock"]


def test_shards_together_do_every_video_once(source: Path, tmp_path: Path) -> None:
    target, done = tmp_path / "flow", list[dict[str, int]]()
    for index in range(3):
        assert run(source, target, "--shard", f"{index}/3") == 0
        done.append(stored(target))

    assert len(done[0]) < len(done[1]) <= len(done[2]) == NUM_VIDEOS
    assert done[2] | done[1] | done[0] == done[2]


def test_broken_videos_are_named_and_the_others_done(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "grow" / "page.mp4").write_text("<html>")
    shutil.copytree(source / "grow", source / "cut")
    for video in (source / "cut").glob("grow*.mp4"):
        video.write_bytes(video.read_bytes()[:1000])

    assert run(source, tmp_path / "flow") == 1

    assert len(stored(tmp_path / "flow")) == NUM_VIDEOS
    shown = capsys.readouterr()
    assert "6 of 11 videos done" in shown.out
    lines = shown.err.splitlines()
    assert lines[0] == "kinetoscope: 5 video(s) have no flow:"
    assert any(line.startswith("  grow/page.mp4: not a video: ") for line in lines)
    assert sum(line.startswith("  cut/grow_0") for line in lines) == NUM_VIDEOS // 2


def stop_at(count: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen in the middle of a video."""
    extract, seen = FlowExtraction._extract, [0]

    def interrupted(self: FlowExtraction, video: Path, folder: Path) -> object:
        seen[0] += 1
        for step in extract(self, video, folder):
            if seen[0] == count:
                assert any(folder.iterdir())
                raise error
            yield step

    monkeypatch.setattr(FlowExtraction, "_extract", interrupted)


def test_ctrl_c_leaves_nothing_half_done_and_says_how_to_go_on(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "flow"
    with monkeypatch.context() as patch:
        stop_at(4, KeyboardInterrupt(), patch)
        assert run(source, target) == 130
    before = stored(target)
    assert len(before) == 3
    assert "3 of 6 videos done" in (out := capsys.readouterr().out)
    assert "the same command again goes on with the rest" in out
    assert [path.name for path in (target / ".partial").iterdir()] == ["lock"]

    assert run(source, target) == 0

    assert stored(target) | before == stored(target)
    assert len(stored(target)) == NUM_VIDEOS


def test_full_disk_ends_with_a_sentence(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop_at(2, OSError(28, "No space left on device"), monkeypatch)

    assert run(source, tmp_path / "flow") == 74

    err = capsys.readouterr().err
    assert "1 of 6 videos done" in err
    assert "No space left on device" in err
    assert "give the same command again" in err


def test_progress_is_told_in_lines_where_no_bar_is_drawn(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(dataset_jobs, "LINE_SECONDS", 0)

    assert run(source, tmp_path / "flow") == 0

    assert "\n2 of 6 videos done, " in capsys.readouterr().out


@pytest.mark.usefixtures("one_thread")  # RAFT is many small steps
def test_raft_with_a_file_of_weights_does_frame_folders(tmp_path: Path) -> None:
    frames, target = tmp_path / "videos" / "v1", tmp_path / "flow"
    frames.mkdir(parents=True)
    for number in range(1, 4):
        Image.new("RGB", (44, 36), (40 * number, 0, 0)).save(frames / f"img_{number:05d}.jpg")
    torch.manual_seed(0)
    torch.save(raft_small(weights=None).state_dict(), weights := tmp_path / "raft.pth")

    options = ["--method", "raft", "--weights", str(weights), "--short_side", "32"]
    assert run(tmp_path / "videos", target, *options, "--device", "cpu") == 0

    with open_flow(target / "v1", num_frames=3) as reader:
        assert (reader.num_fields, reader.height, reader.width) == (2, 32, 39)
    parameters = json.loads((target / "manifest.json").read_text())["parameters"]
    assert parameters["network"] == "raft_small"
    assert parameters["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--shard", "4/4"], "--shard 4/4 is not possible; give I/N with I from 0 to N - 1"),
        (["--shard", "one"], "--shard one is not possible"),
        (["--workers", "-1"], "--workers -1 is too small"),
        (["--short_side", "8"], "short_side=8 is too small"),
        (["--bound", "0"], "bound=0.0 is not possible"),
        (["--method", "raft"], "method raft needs trained weights"),
        (["--device", "cuda"], "device=cuda has no meaning for method dis"),
        (["--metod", "dis"], "has no option --metod; did you mean --method"),
        (["--method", "brox"], "invalid choice: 'brox'"),
    ],
)
def test_wrong_option_gets_one_sentence(
    options: list[str],
    sentence: str,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(source, tmp_path / "flow", *options) == 2

    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "flow").exists()


def test_other_parameters_are_refused_by_name(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(source, tmp_path / "flow", "--shard", "0/3")
    before = stored(tmp_path / "flow")

    assert run(source, tmp_path / "flow", "--bound", "15", "--storage", "jpeg") == 2

    assert "holds optical flow with bound=20.0, storage=video where" in capsys.readouterr().err
    assert stored(tmp_path / "flow") == before


@pytest.mark.slow
@pytest.mark.one_slow_case
def test_processes_survive_being_stopped_and_killed(tmp_path: Path) -> None:
    """Ctrl-C, kill -9 and a last run, in two processes: every video is done, once."""
    settings = MotionShapesSettings(num_train=240, num_val=8, num_test=8)
    generate_motion_shapes(tmp_path / "data", settings, num_workers=0, progress=False)
    source, target = tmp_path / "data" / "train", tmp_path / "flow"
    words = ["-m", "lightning_modules", "flow", str(source), str(target), *OPTIONS]
    command = [sys.executable, *words[:-1], "2"]
    kept: dict[str, int] = {}
    for ending in (signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL) as job:
            while len(stored(target)) < len(kept) + 5:
                assert job.poll() is None
                time.sleep(0.05)
            if ending == signal.SIGINT:
                os.killpg(job.pid, ending)
            else:
                os.kill(job.pid, ending)
            assert job.wait(60) == (130 if ending == signal.SIGINT else -9)
        time.sleep(1)
        assert stored(target) | kept == stored(target)
        kept = stored(target)
        assert len(kept) < 240
        left = [path for path in (target / ".partial").iterdir() if path.is_dir()]
        assert len(left) == (ending == signal.SIGKILL)

    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    assert stored(target) | kept == stored(target)
    assert len(stored(target)) == 240
    assert [path.name for path in (target / ".partial").iterdir()] == ["lock"]
