"""Packets read from where they are stored: the same frames, without opening the container."""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import pytest
import torch
from video_files import assert_equal, assert_exact, cut, scene, whole, write

from datamodules.video import stored_stream
from datamodules.video.errors import VideoError
from datamodules.video.indices import cache as index_cache
from datamodules.video.indices import stored
from datamodules.video.indices.notes import from_note, to_note
from datamodules.video.reader import VideoReader
from datamodules.video.stored_stream import StoredStream
from datamodules.video.stream import VideoStream


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    index_cache.recent.clear()


FILES = {
    "h264.mp4": ("libx264", {"g": "12", "bf": "2"}),
    "h264.mkv": ("libx264", {"g": "12", "bf": "2"}),
    "hevc.mp4": ("libx265", {"x265-params": "keyint=12:bframes=2:log-level=none"}),
    "mpeg4.avi": ("mpeg4", {"g": "12"}),
    "packed.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "vp9.webm": ("libvpx-vp9", {"g": "12", "cpu-used": "8"}),
}


@pytest.mark.parametrize("name", FILES)
def test_container_is_opened_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, options = FILES[name]
    path = write(tmp_path / name, codec, scene(30), options=options)
    with VideoReader(path) as first:
        assert first.index.stored is not None
    truth, _ = whole(path)
    monkeypatch.setattr(VideoStream, "_open", None)
    with VideoReader(path) as again:
        assert_equal(again, [29, 3, 17, 4], truth)
        assert_equal(again, [5, 6, 7, 20], truth)


def test_rotation_and_colours_are_those_of_the_container(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(12, 48, 64), rotation=90)
    opened = assert_exact(path)
    assert opened.index.stored is not None
    assert opened.index.stored.settings.rotation == 90
    wrong = replace(opened.index.stored.settings, rotation=270)
    assert not torch.equal(frames_with(path, wrong), frames_with(path, None))


def frames_with(path: Path, settings: stored.DecoderSettings | None) -> torch.Tensor:
    with VideoReader(path) as opened:
        packets = opened.index.stored
        assert packets is not None
        if settings is not None:
            opened._index = replace(opened.index, stored=replace(packets, settings=settings))
        return opened.get_frames([3])


@pytest.mark.parametrize("survey", [False, True])
def test_settings_that_make_other_frames_are_not_kept(
    survey: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = ("a.avi", {"bf": "2"}) if survey else ("a.mp4", {})
    path = write(tmp_path / kind[0], "mpeg4", scene(12), options=kind[1])
    of = stored.DecoderSettings.of

    def lossy(context: Any, rotation: int) -> stored.DecoderSettings:
        return replace(of(context, rotation), rotation=90)

    monkeypatch.setattr(stored.DecoderSettings, "of", lossy)
    opened = assert_exact(path)
    assert opened.index.stored is None
    assert opened.index.is_surveyed == survey


def test_containers_that_cut_packets_up_are_left_to_ffmpeg(tmp_path: Path) -> None:
    opened = assert_exact(write(tmp_path / "a.ts", "libx264", scene(20)))
    assert opened.index.stored is None


def test_other_packets_in_the_same_place_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(20))
    with VideoReader(path) as opened:
        write(path, "libx264", scene(20)[::-1].copy())
        truth, _ = whole(path)
        assert_equal(opened, [2, 7, 12], truth)
    with VideoReader(path) as opened:
        end = opened.index.stored
        assert end is not None
        content = path.read_bytes()
        place = int(end.start[5])
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        stream = opened.index.open_stored(opened.source)
        assert stream is not None
        stream.position = 5
        with stream, pytest.raises(stored_stream.BrokenPromiseError, match="packet 5 is not"):
            stream.read()


def test_packets_are_read_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(60))
    truth, _ = whole(path)
    monkeypatch.setattr(stored_stream, "_AT_ONCE", 2000)
    assert_exact(path)
    monkeypatch.undo()
    with VideoReader(path) as opened, path.open("rb") as file:
        opened.get_frames([0])
        stream = opened._stream
        assert isinstance(stream, StoredStream)
        stream._file.close()
        counted = stream._file = Counted(file)  # type: ignore[assignment]
        assert_equal(opened, [3, 30, 55], truth)
    assert counted.reads <= 2


class Counted:
    """A file whose reads are counted."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.close, self._file, self.reads = file.seek, file.close, file, 0

    def read(self, size: int) -> bytes:
        self.reads += 1
        return self._file.read(size)


def test_a_note_holds_where_packets_are(tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / "a.mkv", "libx264", scene(9))) as opened:
        index = opened.index
    again = from_note(to_note(index))
    assert again is not None
    assert again.stored is not None
    assert index.stored is not None
    assert again.stored.settings == index.stored.settings
    for name in ("start", "size", "checksum"):
        assert np.array_equal(getattr(again.stored, name), getattr(index.stored, name))
    bare = from_note(to_note(replace(index, stored=None)))
    assert bare is not None
    assert bare.stored is None


def test_parts_are_joined_over_small_gaps_alone() -> None:
    settings = stored.DecoderSettings("h264", "avc1", b"", 1, 1, 0, (2, 0, 2, 2), 0)
    start, size = np.array([0, 100, 5000, 300]), np.array([100, 10, 50, 7])
    packets = stored.StoredPackets(start, size, np.zeros(4, np.uint32), settings)
    assert packets.parts(0, 3) == [(0, 110), (5000, 5050), (300, 307)]
    assert packets.parts(1, 1) == [(100, 110)]


def test_bitstream_that_turns_its_frames_is_left_to_ffmpeg(tmp_path: Path) -> None:
    flat = write(tmp_path / "flat.mp4", "libx264", scene(20), options={"g": "5"})
    turned = tmp_path / "turned.mp4"
    with av.open(str(flat)) as given, av.open(str(turned), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        told = "h264_metadata=display_orientation=insert:rotate=180"
        turning = av.BitStreamFilterContext(told, given.streams.video[0], stream)
        for packet in given.demux(video=0):
            for changed in turning.filter(packet):
                changed.stream = stream
                output.mux(changed)
    opened = assert_exact(turned)
    assert opened.index.stored is None


def test_tags_that_are_no_ascii_are_left_to_ffmpeg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp4", "mpeg4", scene(9))
    content = path.read_bytes()
    assert content.count(b"mp4v") == 1
    path.write_bytes(content.replace(b"mp4v", b"mp\xe9v"))
    assert assert_exact(path).index.stored is None


def test_decoder_that_another_build_had_is_not_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(9))
    truth, _ = whole(path)
    with VideoReader(path) as opened:
        packets = opened.index.stored
        assert packets is not None
        other = replace(packets, settings=replace(packets.settings, name="libnothing"))
        opened._index = replace(opened.index, stored=other)
        assert_equal(opened, [4], truth)


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_file_that_was_cut_since_it_was_indexed_is_cut_for_all(name: str, tmp_path: Path) -> None:
    codec = "libx264" if name == "a.mkv" else "mpeg4"
    path = write(tmp_path / name, codec, scene(120, 128, 128), options={"g": "6"})
    with VideoReader(path) as opened:
        cut(path, 0.5)
        with pytest.raises(VideoError, match="truncated"):
            opened.get_frames([119])
    with pytest.raises(VideoError, match="truncated"):
        VideoReader(path)


def test_other_content_of_a_note_is_none() -> None:
    for content in (b"{}", b"[]", b'{"made_by": []}'):
        assert from_note(zlib.compress(content + b"\n")) is None
