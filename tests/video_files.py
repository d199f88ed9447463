"""Writing small video files of every kind, and comparing what is read with plain decoding."""

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datamodules.video.packet_stream import PacketStream
from datamodules.video.reader import VideoReader
from datamodules.video.stream import ANY_METADATA

Frames = NDArray[np.uint8]


def whole(path: Path, keep: set[int] | None = None) -> tuple[dict[int, Frames], list[float | None]]:
    """What plain decoding gives: upright frames by number, and the times of all."""
    frames, times = {}, []
    with av.open(str(path), **ANY_METADATA) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            times.append(frame.time)
            if keep is None or number in keep:
                turns = round(frame.rotation / 90) % 4
                frames[number] = np.rot90(frame.to_ndarray(format="rgb24"), turns)
    return frames, times


def assert_equal(reader: VideoReader, indices: list[int], truth: dict[int, Frames]) -> None:
    got = reader.get_frames(indices)
    assert got.dtype == torch.uint8
    for index, frame in zip(indices, got, strict=True):
        assert np.array_equal(frame.permute(1, 2, 0).numpy(), truth[index]), f"frame {index}"


def assert_exact(path: Path, seed: int = 0) -> VideoReader:
    """Number, size and content of the frames, fetched in several ways, by us and by FFmpeg."""
    truth, times = whole(path)
    count, chooser = len(times), random.Random(seed)
    with VideoReader(path) as reader:
        assert (reader.num_frames, reader.height, reader.width) == (count, *truth[0].shape[:2])
        shuffled = chooser.sample(range(count), count)
        assert_equal(reader, shuffled + shuffled[:3], truth)
        for start in range(0, count, 5):  # reading on
            assert_equal(reader, list(range(start, min(start + 5, count))), truth)
        for _ in range(4):  # jumping about
            start, stride = chooser.randrange(count), chooser.randrange(1, 9)
            assert_equal(reader, list(range(start, count, stride))[:6], truth)
    for index in chooser.sample(range(count), min(count, 5)):
        with VideoReader(path) as fresh:
            assert_equal(fresh, [index], truth)
    if reader.index.stored is not None:
        with VideoReader(path) as other:
            other._index = replace(other.index, stored=None)
            assert_equal(other, shuffled[:3] + sorted(shuffled[3:9]), truth)
            assert_equal(other, list(range(count)), truth)
    return reader


def scene(count: int, height: int = 64, width: int = 64) -> Frames:
    """A moving picture with a cut in the middle, (T, H, W, 3)."""
    chooser = np.random.default_rng(0)
    small = chooser.integers(0, 255, (2, height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    large = small.repeat(8, 1).repeat(8, 2)
    shots = [np.roll(large[int(t > count // 2)], (t, 2 * t), (0, 1)) for t in range(count)]
    return np.stack(shots)[:, :height, :width]


def write(
    path: Path,
    codec: str,
    frames: Frames,
    *,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: list[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    rotation: int = 0,
    container: dict[str, str] | None = None,
) -> Path:
    """Encodes frames (T, H, W, 3), to the same bytes each time."""
    # x264's macroblock tree is not the same from process to process
    same = {"x264-params": "no-mbtree=1"} if codec == "libx264" else {}
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=25, options={**same, **(options or {})})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.codec_context.time_base = pix_fmt, time_base
        if rotation:
            stream.set_display_rotation(rotation)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = times[number] if times else number, time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def remux(source: Path, target: Path, change: Any) -> Path:
    """Copies packets that `change(number, packet)` keeps."""
    with av.open(str(source)) as given, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            if change(number, packet):
                packet.stream = stream
                output.mux(packet)
    return target


def cut(path: Path, share: float) -> Path:
    """Leaves the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


class Counter:
    """Counts what goes into the decoder and comes out of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packets = self.frames = 0
        decode = PacketStream.decode

        def counted(stream: PacketStream, packet: Any, name: int | None = None) -> Any:
            frames = decode(stream, packet, name)
            self.packets += packet is not None
            self.frames += len(frames)
            return frames

        monkeypatch.setattr(PacketStream, "decode", counted)
