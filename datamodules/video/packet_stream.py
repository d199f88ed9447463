"""Packets of a video by number, decoded on one thread, and frames as RGB arrays.

Two classes read packets: `VideoStream` as FFmpeg finds them in any container, `StoredStream` from
where an index says that they are stored.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from time import perf_counter
from typing import Any, Self

import av
import numpy as np
from av.codec.context import ThreadType
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from datamodules.stopwatch import running
from datamodules.storage.source import Source
from datamodules.video.errors import MAX_PIXELS, VideoError

__all__ = ["PacketStream", "colours_of", "quarter_turns", "upright_rgb"]


class PacketStream(ABC):
    """The packets of a video, and a decoder for them.

    FFmpeg's frame threads hide truncation, so they are never used.

    Args:
        source: The video file.
        strict: Let the decoder raise on errors it would otherwise conceal.

    Attributes:
        position: Number, in the order of the file, of the packet that `read` gives next.
    """

    context: VideoCodecContext

    def __init__(self, source: Source, *, strict: bool) -> None:
        self.source = source
        self.strict = strict
        self.position = 0
        self._reformatter = VideoReformatter()
        self._seconds = running()

    def expect(self, last: int) -> None:  # noqa: B027  # FFmpeg reads on as it likes
        """Get to know that packets up to one are read next.

        Args:
            last: Number of the last one.
        """

    @abstractmethod
    def read(self) -> Packet[Any] | None:
        """Read the next packet; None at the end."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    @abstractmethod
    def rotation(self, frame: VideoFrame) -> int:
        """Degrees by which a frame is to be turned counter-clockwise."""

    def _prepare(self, context: VideoCodecContext) -> None:
        """Set up a decoder before its first packet."""
        context.thread_type = ThreadType.NONE
        context.thread_count = 1
        context.options = {"max_pixels": str(MAX_PIXELS)}
        if self.strict:
            context.options = {**context.options, "err_detect": "explode"}
        self.context = context

    def decode(self, packet: Packet[Any] | None, name: int | None = None) -> list[VideoFrame]:
        """Decode a packet; None brings out the frames the decoder still holds.

        Args:
            packet: The packet.
            name: Written into the packet's time stamp, so that the frame made of it carries it as
                `frame.pts`.

        Raises:
            av.FFmpegError: The packet is damaged.
        """
        if packet is not None and name is not None:
            packet.pts = name
        begun = perf_counter()
        frames = self.context.decode(packet)
        self._seconds["decode"] += perf_counter() - begun
        return frames

    def skip_unreferenced(self, skip: bool) -> None:
        """Leave out, or not, the packets sent from now on that no other frame refers to."""
        self.context.skip_frame = "NONREF" if skip else "DEFAULT"

    def flush(self) -> None:
        """Empty the decoder, which may then begin at another key frame."""
        self.context.flush_buffers()

    def rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Convert a frame to bytes (H, W, 3), upright.

        Args:
            frame: A decoded frame.

        Raises:
            VideoError: FFmpeg has no conversion of its colours.
        """
        begun = perf_counter()
        try:
            pixels = upright_rgb(frame, self._reformatter, self.rotation(frame))
        except av.FFmpegError as error:
            detail = f"FFmpeg converts no {frame.format.name} of colour matrix {frame.colorspace}"
            raise VideoError(self.source, "no decoder", f"{detail} to RGB ({error})") from error
        self._seconds["convert"] += perf_counter() - begun
        return pixels

    def upright_shape(self, frame: VideoFrame) -> tuple[int, int]:
        """Rows and columns of a frame once it is upright."""
        sides = frame.height, frame.width
        return sides[::-1] if quarter_turns(self.rotation(frame)) % 2 else sides

    def checksum(self, frame: VideoFrame) -> int:
        """Compute a CRC-32 of all that a frame's RGB bytes are made of.

        Args:
            frame: A decoded frame.
        """
        *about, planes = self._makings(frame)
        found = zlib.crc32(repr(tuple(about)).encode()) if about else 0
        for plane in planes:
            found = zlib.crc32(np.ascontiguousarray(plane).data, found)
        return found

    def is_same(self, frame: VideoFrame, other: VideoFrame, stream: PacketStream) -> bool:
        """Check that two frames have the same RGB bytes.

        Args:
            frame: A decoded frame.
            other: One that another stream decoded.
            stream: The other stream.
        """
        *about, planes = self._makings(frame)
        *other_about, other_planes = stream._makings(other)
        same = about == other_about and len(planes) == len(other_planes)
        return same and all(map(np.array_equal, planes, other_planes))

    def _makings(self, frame: VideoFrame) -> tuple[Any, ...]:
        """List what a frame's RGB bytes are made of, its planes last.

        Of 8-bit planes that is their bytes, half as many as the RGB ones and without a conversion,
        and what the conversion depends on before them; of any other format the RGB bytes.
        """
        planes, parts = frame.planes, frame.format.components
        if len(planes) != len(parts) or any(part.bits != 8 for part in parts):
            return ([self.rgb(frame)],)
        rows = [
            np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            for plane in planes
        ]
        pixels = [row[:, : plane.width] for row, plane in zip(rows, planes, strict=True)]
        turned = self.upright_shape(frame), self.rotation(frame)
        return (frame.format.name, *turned, *colours_of(frame), pixels)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Packet[Any]]:
        while (packet := self.read()) is not None:
            yield packet


def upright_rgb(
    frame: VideoFrame, reformatter: VideoReformatter, rotation: int
) -> NDArray[np.uint8]:
    """Convert a frame to bytes (H, W, 3), turned counter-clockwise.

    Args:
        frame: A decoded frame.
        reformatter: One for all frames of a video: on FFmpeg 8 a new one per frame leaks.
        rotation: In degrees.
    """
    # one thread: the same bits
    plane = reformatter.reformat(frame, format="rgb24", threads=1).planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    pixels = rows[:, : plane.width * 3].reshape(plane.height, plane.width, 3)
    turns = quarter_turns(rotation)
    return np.rot90(pixels, turns) if turns else pixels


def colours_of(frame: VideoFrame) -> tuple[int, int, int, int]:
    """List what a frame says of its colours: matrix, range, primaries and transfer.

    Args:
        frame: A decoded frame.
    """
    return frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc


def quarter_turns(rotation: int) -> int:
    """Count counter-clockwise quarter turns of a rotation in degrees; 0 of a broken one."""
    return round(rotation / 90) % 4 if abs(rotation) <= 360 else 0
