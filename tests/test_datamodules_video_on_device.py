"""Frames decoded on a device: equal to the CPU's, or refused. The CPU stands for the card."""

import pickle
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from video_files import scene, write

from datamodules.video.errors import VideoError
from datamodules.video.indices import cache as index_cache
from datamodules.video.indices.building import survey
from datamodules.video.on_device import reader as reader_module
from datamodules.video.on_device import stream as stream_module
from datamodules.video.on_device.colours import MATRICES, Colours, Matrix, matrix_of, to_rgb
from datamodules.video.on_device.reader import DeviceReader
from datamodules.video.on_device.stream import DeviceStream
from datamodules.video.reader import VideoReader

COLOURS: list[Colours] = [(2, 0, 2, 2), (1, 1, 1, 1)]  # unspecified, and BT.709


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    index_cache.recent.clear()


@pytest.mark.parametrize(("colours", "matrix"), list(zip(COLOURS, MATRICES, strict=True)))
def test_conversion_is_proved_for_each_matrix(colours: Colours, matrix: Matrix) -> None:
    """`matrix_of` compares every triple with FFmpeg; here are sizes and neighbours."""
    assert matrix_of(colours, torch.device("cpu")) == matrix
    chooser = np.random.default_rng(0)
    for width, height in ((2, 2), (6, 4), (34, 34), (320, 240), (322, 180)):
        frame = VideoFrame(width, height, "yuv420p")
        frame.colorspace, frame.color_range = colours[:2]
        planes = []
        for plane in frame.planes:
            pixels = np.zeros((plane.height, plane.line_size), np.uint8)
            pixels[:, : plane.width] = chooser.integers(0, 256, (plane.height, plane.width))
            plane.update(pixels.tobytes())
            planes.append(torch.from_numpy(pixels[:, : plane.width].copy()))
        rgb = VideoReformatter().reformat(frame, format="rgb24", threads=1)
        luma, blue, red = planes
        assert np.array_equal(to_rgb(luma, blue, red, matrix).numpy(), rgb.to_ndarray())


@pytest.mark.parametrize("colours", [(2, 2, 2, 2), (9, 1, 9, 14), (7, 1, 7, 7), (8, 1, 1, 1)])
def test_other_colours_have_no_matrix(colours: Colours) -> None:
    assert matrix_of(colours, torch.device("cpu")) is None


CODECS = {
    "h264.mp4": ("libx264", {"g": "12", "bf": "2"}),
    "hevc.mp4": ("libx265", {"x265-params": "keyint=12:bframes=2:log-level=none"}),
    "vp9.webm": ("libvpx-vp9", {"g": "12", "cpu-used": "8"}),
}


@pytest.mark.parametrize("name", CODECS)
def test_frames_are_those_of_the_cpu(name: str, tmp_path: Path) -> None:
    codec, options = CODECS[name]
    path = write(tmp_path / name, codec, scene(30), options=options)
    for order in ([29, 3, 17, 4], list(range(30)), [5, 5, 6]):
        with VideoReader(path) as reader, DeviceReader(path, "cpu") as other:
            expected, found = reader.get_frames(order), other.get_frames(order)
            halves = [r.get_frames(order, lambda x: x[..., ::2]) for r in (reader, other)]
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()
        assert torch.equal(*halves)


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(12, 48, 64), rotation=90)
    with VideoReader(path) as reader, DeviceReader(path, "cpu") as other:
        assert (other.height, other.width) == (64, 48)
        assert torch.equal(other.get_frames([5, 2]), reader.get_frames([5, 2]))


def test_real_video(test_data: Path) -> None:
    path = min((test_data / "clips" / "kinetics").rglob("*.mp4"))
    with VideoReader(path) as reader, DeviceReader(path, "cpu") as other:
        order = list(range(0, reader.num_frames, 9))[:8]
        assert torch.equal(other.get_frames(order), reader.get_frames(order))


def test_a_card_s_planes_have_the_checksum_of_the_cpu_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card gives its chroma in one plane; its frames stand in as such ones in memory."""
    path = write(tmp_path / "a.mp4", "libx264", scene(4, 64, 96))
    with DeviceReader(path, "cpu") as reader:
        stored = reader.index.stored
        assert stored is not None
        expected = reader.get_frames(range(reader.num_frames))
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
        entry, cpu = reader.index.entry, torch.device("cpu")
        with DeviceStream(reader.source, stored, entry, cpu) as stream:
            monkeypatch.setattr(stream, "device", torch.device("cuda"))
            monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
            monkeypatch.setattr(stream_module, "matrix_of", lambda c, device: matrix_of(c, cpu))
            for number, frame in enumerate(frames):
                card = VideoReformatter().reformat(frame, format="nv12")
                assert card.format.name == "nv12"
                assert stream.checksum(card) == reader.index.checksum[number]
                assert torch.equal(stream.pixels(card).permute(2, 0, 1), expected[number])


def test_a_frame_that_differs_in_one_bit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(12))
    checksum = DeviceStream.checksum
    monkeypatch.setattr(DeviceStream, "checksum", lambda s, frame: checksum(s, frame) ^ 1)
    words = "no decoder: cpu does not give its frames exactly .frame 3 is not the one"
    with DeviceReader(path, "cpu") as reader:
        before = reader.index
        for _ in range(2):
            with pytest.raises(VideoError, match=words):
                reader.get_frames([3])
            assert reader._stream is None, "left open"
        assert reader.index.entry.tolist() == before.entry.tolist()


def test_an_index_that_the_cpu_mends_is_no_fault_of_the_device(tmp_path: Path) -> None:
    """A packet marked as an entry at which decoding cannot begin."""
    path = write(tmp_path / "a.mp4", "libx264", scene(30), options={"g": "12", "bf": "2"})
    with DeviceReader(path, "cpu") as video:
        video.index.entry[17] = True
        order = [20, 21, 29]
        found = video.get_frames(order)
        assert not video.index.entry[17]
    with VideoReader(path) as reader:
        assert torch.equal(found, reader.get_frames(order))


def test_a_reader_that_was_sent_elsewhere_keeps_its_device(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(6))
    with DeviceReader(path, "cpu") as video, pickle.loads(pickle.dumps(video)) as again:
        assert again.device == torch.device("cpu")
        assert torch.equal(again.get_frames([4]), video.get_frames([4]))


def test_planes_that_pyav_keeps_are_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(capsule: object) -> None:
        raise NotImplementedError("unsupported sw_format for DLPack export")

    path = write(tmp_path / "a.mp4", "libx264", scene(6))
    monkeypatch.setattr(stream_module, "from_dlpack", refuse)
    with DeviceReader(path, "cpu") as video, pytest.raises(VideoError, match="unsupported sw_form"):
        video.get_frames([1])


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "words"),
    [
        ("a.avi", "mpeg4", "yuv420p", "mpeg4 is no codec that every decoder decodes alike"),
        ("a.mp4", "libx264", "yuv444p", "its format is yuv444p, not 8-bit 4:2:0"),
        ("a.mp4", "libx264", "yuvj420p", "of its colours, .2, 2, 2, 2., no conversion is proved"),
        ("a.ts", "libx264", "yuv420p", "where its packets lie is not known"),
    ],
)
def test_what_cannot_be_proved_is_refused(
    name: str,
    codec: str,
    pix_fmt: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write(tmp_path / name, codec, scene(6), pix_fmt=pix_fmt)
    surveys: list[object] = []
    monkeypatch.setattr(reader_module, "survey", lambda s: surveys.append(s) or survey(s))
    for _ in range(2):
        with pytest.raises(VideoError, match=words), DeviceReader(path, "cpu") as video:
            video.get_frames([0])
    assert len(surveys) == (pix_fmt != "yuv420p"), "decoded for nothing"


def test_odd_sides_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.webm", "libvpx-vp9", scene(3, 63, 64))
    with (
        pytest.raises(VideoError, match="a side of 64x63 is odd"),
        DeviceReader(path, "cpu") as reader,
    ):
        reader.get_frames([0])


@pytest.mark.parametrize("device", ["cuda", "meta"])
def test_a_device_that_is_not_there_is_named(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = write(tmp_path / "a.mp4", "libx264", scene(3))
    with pytest.raises(RuntimeError, match=f"no decoder on {device}; give a CUDA device"):
        DeviceReader(path, device)
