"""Files that want to do harm, given to `kinetoscope fit`: one sentence each, and little memory."""

import contextlib
import io
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from video_files import scene, write
from warm_python import run_script

from datamodules.video.errors import VideoError
from datamodules.video.reader import VideoReader
from lightning_modules.cli import main

ALLOWED = 400_000  # kB that a hostile file may cost
TEN_HOURS = 36_000  # seconds
COLUMNS = 10**6


def make_huge(path: Path) -> Path:
    """A file of 200 kB whose frames have 8192x8192 pixels."""
    options = {"preset": "ultrafast", "crf": "40"}
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options=options)
        stream.width = stream.height = 8192
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        frame = av.VideoFrame(8192, 8192, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        (packet,) = [*stream.encode(frame), *stream.encode()]
        for number in range(3):  # the same picture again
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = 1 / stream.average_rate, stream
            output.mux(packet)
    return path


def promise_ten_hours(path: Path) -> Path:
    """Lets every header of a file say that it lasts ten hours."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".avi":
        for header, place in ((b"avih", 24), (b"strh", 40)):
            struct.pack_into("<I", data, data.index(header) + place, 25 * TEN_HOURS)
    else:
        timed = ((b"mvhd", b"mvhd", 20), (b"tkhd", b"mvhd", 24), (b"mdhd", b"mdhd", 20))
        for box, clock, place in timed:
            (ticks,) = struct.unpack_from(">I", data, data.index(clock) + 16)
            struct.pack_into(">I", data, data.index(box) + place, TEN_HOURS * ticks)
    path.write_bytes(data)
    return path


def list_ten_hours(path: Path) -> Path:
    """Lets the tables of an MP4 file list the frames of ten hours."""
    data = bytearray(path.read_bytes())
    count = 25 * TEN_HOURS
    for box, place, value in (
        (b"stts", 12, count),
        (b"stsc", 16, count),
        (b"stsz", 8, 100),
        (b"stsz", 12, count),
    ):
        struct.pack_into(">I", data, data.index(box) + place, value)
    path.write_bytes(data)
    return path


def test_header_that_promises_ten_hours_changes_nothing(tmp_path: Path) -> None:
    for name, codec in (("a.mp4", "libx264"), ("a.avi", "mpeg4")):
        before = write(tmp_path / name, codec, scene(20)).read_bytes()
        path = promise_ten_hours(tmp_path / name)
        assert path.read_bytes() != before
        with VideoReader(path) as reader:
            assert reader.num_frames == 20
            np.testing.assert_allclose(np.diff(reader.timestamps), 0.04, atol=1e-6)
            assert reader.frame_rate == pytest.approx(25)


def videos(root: Path, *names: str) -> None:
    """A list of two classes with small good videos, and others as they are."""
    lines = [f"{name} {number % 2}" for number, name in enumerate(names)]
    (root / "train.txt").write_text("\n".join(lines))
    for name in names:
        if name.startswith("good") and not (root / name).exists():
            write(root / name, "libx264", scene(20))


def listed(root: Path, path: str) -> None:
    videos(root, "good1.mp4", "good2.mp4", path)


def linked(root: Path) -> None:
    (root / "link.mp4").symlink_to("/etc/passwd")
    listed(root, "link.mp4")


def huge_video(root: Path) -> None:
    make_huge(root / "huge.mp4")
    listed(root, "huge.mp4")


def huge_picture(root: Path) -> None:
    (root / "huge").mkdir()
    Image.new("1", (9_000, 9_000)).save(root / "huge" / "00001.png")
    listed(root, "huge")


def ten_hours(root: Path) -> None:
    list_ten_hours(write(root / "long.mp4", "libx264", scene(20)))
    listed(root, "long.mp4")


def in_utf_16(root: Path) -> None:
    listed(root, "good3.mp4")
    text = (root / "train.txt").read_text()
    (root / "train.txt").write_text(text, encoding="utf-16")


def many_columns(root: Path) -> None:
    (root / "train.txt").write_text("a.mp4," * COLUMNS)


def kinetics_with(text: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / "annotations").mkdir()
        for name in ("train", "val"):
            (root / "annotations" / f"{name}.csv").write_text(text, encoding=encoding)

    return make


def ssv2_in_utf_16(root: Path) -> None:
    (root / "labels").mkdir()
    contents = {"labels": {"Holding something": "0", "Moving something": "1"}, "train": []}
    for name, content in {**contents, "validation": []}.items():
        text = json.dumps(content)
        (root / "labels" / f"{name}.json").write_text(text, encoding="utf-16")


HEADER = "label,youtube_id,time_start,time_end,split\n"
KINETICS = ("--data", "KineticsDataModule")
CASES: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "path above": (lambda root: listed(root, "../../etc/passwd"), (), "leads out of the dataset"),
    "absolute path": (lambda root: listed(root, "/etc/passwd"), (), "leads out of the dataset"),
    "link": (linked, (), "for instance link.mp4: not a video"),
    "huge video": (huge_video, (), "for instance huge.mp4: too large"),
    "huge picture": (huge_picture, (), "for instance huge: too large"),
    "ten hours": (ten_hours, (), "for instance long.mp4: truncated"),
    "UTF-16 list": (in_utf_16, (), "is not UTF-8 text"),
    "columns in a list": (many_columns, (), "a line of more than 65536 characters"),
    "columns in a CSV": (
        kinetics_with(HEADER + "a," * COLUMNS),
        KINETICS,
        "a line of more than 65536 characters",
    ),
    "UTF-16 CSV": (kinetics_with(HEADER, "utf-16"), KINETICS, "is not UTF-8 text"),
    "UTF-16 JSON": (ssv2_in_utf_16, ("--data", "SomethingSomethingV2DataModule"), "labels.json"),
    "blank UTF-16 CSV": (kinetics_with(HEADER, "utf-16-le"), KINETICS, "is not UTF-8 text"),
}


SMALL = (
    *(
        "--data.sampling.num_frames=8",
        "--data.sampling.frame_stride=2",
        "--data.crops.size=32",
        "--data.crops.short_side=32",
    ),
    *("--data.loading.batch_size=3", "--data.val_fraction=0"),
    "--data.augmentation.reversals=false",
    *("--model", "BaselineModule", "--model.network=c2d_tiny"),
)


def fit(root: Path, *words: str) -> dict[str, Any]:
    """What a fit on a folder says, and the memory in kB at its most beyond that before."""
    said, code, before = io.StringIO(), 0, _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    configs = [f"--config=configs/{name}.yaml" for name in ("quickstart", "override/debug")]
    data = words or ("--data", "VideoFolderDataModule", "--data.train_list=train.txt")
    where = [f"--data.root={root}", f"--run.folder={root}/runs"]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(["fit", *configs, *data, *where, *SMALL])
        except SystemExit as ended:
            code = int(ended.code or 0)
    return {"code": code, "said": said.getvalue(), "memory": _memory("VmHWM") - before}


def _memory(key: str) -> int:
    """What this process holds now (VmRSS), or held at its most (VmHWM), in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def play() -> None:
    """Fits on a good folder, then on every hostile one; prints what came of each as JSON."""
    root = Path(sys.argv[1])
    (root / "good").mkdir()
    listed(root / "good", "good3.mp4")
    found = {"good": fit(root / "good")}
    for name, (_, words, _) in CASES.items():
        found[name] = fit(root / name, *words)
    sys.stdout.write(json.dumps(found))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, fork_server: None) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("hostile")
    for name, (make, _, _) in CASES.items():
        (root / name).mkdir()
        make(root / name)
    script = f"import torch; torch.set_num_threads(1); from {__name__} import play; play()"
    done = run_script(script, str(root), folder=root)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["good"]["code"] == 0, found["good"]
    return found


@pytest.mark.parametrize("name", CASES)
def test_hostile_data_is_refused_in_a_sentence(outcomes: dict[str, Any], name: str) -> None:
    found, (_, _, sentence) = outcomes[name], CASES[name]
    assert found["code"] == 2, found
    said = [line for line in found["said"].splitlines() if line.startswith("kinetoscope: ")]
    assert len(said) == 1
    assert sentence in said[0]
    assert "Traceback" not in found["said"]
    assert found["memory"] < ALLOWED


def test_colours_that_ffmpeg_cannot_convert_have_a_sentence(tmp_path: Path) -> None:
    """YCgCo, matrix 8: the frames decode, and have no RGB."""
    options = {"x264-params": "colormatrix=YCgCo"}
    path = write(tmp_path / "a.mp4", "libx264", scene(6), options=options)
    words = "no decoder: FFmpeg converts no yuv420p of colour matrix 8 to RGB"
    with VideoReader(path) as reader, pytest.raises(VideoError, match=words):
        reader.get_frames([2])
