"""One open video file: packets by number, decoding on one thread, frames as RGB arrays."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, BinaryIO, Self

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream as AVVideoStream
from numpy.typing import NDArray

from datamodules.formats.containers import PLAYLISTS, ends_early
from datamodules.stopwatch import running
from datamodules.storage.source import Source
from datamodules.video.errors import MAX_PIXELS, VideoError, as_unreadable

# Containers in which a packet keeps its byte position and a seek lands on a listed packet.
_SEEKABLE = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
BUFFER, BUFFER_ELSEWHERE = 2**15, 2**13
"""Bytes that FFmpeg asks a Python file for; fewer where more than is needed would be fetched."""
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")

ANY_METADATA: dict[str, Any] = (
    {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
)
"""What lets `av.open` pass over titles and comments that are not UTF-8; PyAV 19 always does."""


def check_file(source: Source) -> None:
    """Refuse whatever is no readable file before FFmpeg sees it.

    Args:
        source: The video.

    Raises:
        VideoError: Nothing there, not a file, unreadable, empty, or a playlist (which would open
            other files).
    """
    with as_unreadable(source):
        if not source.exists():
            raise VideoError(source, "missing", "there is no such file")
        if not source.is_file():
            raise VideoError(source, "not a file", "a video file is expected here")
        head = source.read(0, 64)
    if not head:
        raise VideoError(source, "empty file", "it holds no byte")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLISTS):
        raise VideoError(source, "not a video", "it is a playlist or other text")


def is_cut(source: Source) -> bool | None:
    """Check that a file announces frame data past its end; None for an unknown container."""
    with as_unreadable(source), source.open() as file:
        return ends_early(file)


class VideoStream:
    """The video stream of one file, read packet by packet and decoded on one thread.

    Of several streams it is the one of the largest frames, of equal ones the first; a cover picture
    is none. FFmpeg's frame threads hide truncation, so they are never used.

    Args:
        source: The video file, already checked by `check_file`.
        strict: Let the decoder raise on errors it would otherwise conceal.

    Attributes:
        position: Number, in the order of the file, of the packet that `read` gives next.

    Raises:
        VideoError: The file cannot be opened or holds no video stream that can be decoded.
    """

    def __init__(self, source: Source, *, strict: bool) -> None:
        self.source = source
        self.strict = strict
        self.position = 0
        self._reformatter = VideoReformatter()
        self._seconds = running()
        self._open()

    def _open(self) -> None:
        self._file: BinaryIO | None = None
        try:
            address, protocols = _address_of(self.source)
            if not address:
                self._file = self.source.open()
            self._container: InputContainer = av.open(
                self._file or address,
                mode="r",
                buffer_size=BUFFER_ELSEWHERE if self.source.is_elsewhere else BUFFER,
                options={"protocol_whitelist": protocols},
                **ANY_METADATA,
            )
        except (av.FFmpegError, OSError) as error:
            raise self._open_error(error) from error
        try:
            self.stream = self._pick_stream()
        except BaseException:
            self.close()
            raise
        self._packets = self._container.demux(self.stream)
        self._held: Packet[AVVideoStream] | None = None
        self.position = 0

    def _open_error(self, error: Exception) -> VideoError:
        if self._file is not None:
            self._file.close()
        check_file(self.source)
        if not isinstance(error, av.FFmpegError):  # of the source, not of what it holds
            return VideoError(self.source, "unreadable", str(error))
        if isinstance(error, av.EOFError):
            return VideoError(self.source, "no frames", "it ends before its first frame")
        cut = is_cut(self.source)
        if cut:
            return VideoError(
                self.source, "truncated", f"it ends within its frames or index ({error})"
            )
        if cut is None:
            return VideoError(self.source, "not a video", f"no known container ({error})")
        return VideoError(self.source, "damaged", f"its headers are broken ({error})")

    def _pick_stream(self) -> AVVideoStream:
        moving = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        if not moving:
            kinds = ", ".join(sorted({s.type for s in self._container.streams})) or "nothing"
            raise VideoError(self.source, "no video stream", f"it holds {kinds}")
        stream = max(moving, key=_num_pixels)  # the first of equal ones
        if stream.codec_context is None:
            raise VideoError(self.source, "no decoder", "this build of FFmpeg lacks its codec")
        context = stream.codec_context
        self.check_size(context.width, context.height)
        context.thread_type = ThreadType.NONE
        context.thread_count = 1
        context.options = {"max_pixels": str(MAX_PIXELS)}
        if self.strict:
            context.options = {**context.options, "err_detect": "explode"}
        for other in self._container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        return stream

    def check_size(self, width: int, height: int) -> None:
        """Refuse frames that would need an unreasonable amount of memory.

        Args:
            width: In pixels.
            height: In pixels.

        Raises:
            VideoError: More than `MAX_PIXELS`.
        """
        if width * height > MAX_PIXELS:
            detail = f"{width}x{height} pixels, at most {MAX_PIXELS} (8192x4320) are decoded"
            raise VideoError(self.source, "too large", detail)

    @property
    def is_seekable(self) -> bool:
        """True if packets can be found again by their byte position after a seek."""
        return self._container.format.name in _SEEKABLE

    @property
    def seeks_by_showing(self) -> bool:
        """True if a seek goes to a time of showing, False if to one of decoding."""
        return self._container.format.name != "avi"

    @property
    def container_name(self) -> str:
        """FFmpeg's name of the container format."""
        return self._container.format.name

    @property
    def longest_seconds(self) -> float | None:
        """Seconds that the container says its longest stream lasts; None where it does not."""
        ticks = self._container.duration
        return ticks / av.time_base if ticks else None

    @property
    def declared_seconds(self) -> float | None:
        """Seconds that the container says its pictures last; None where it does not."""
        for name, value in self.stream.metadata.items():
            clock = _CLOCK.fullmatch(value)
            if name.partition("-")[0] == "DURATION" and clock:  # Matroska; `-eng` may follow
                hours, minutes, seconds = map(float, clock.groups())
                return 3600 * hours + 60 * minutes + seconds
        if self.stream.duration and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        return self.longest_seconds if len(self._container.streams) == 1 else None

    def read(self) -> Packet[AVVideoStream] | None:
        """Read the next packet; None at the end.

        Raises:
            av.FFmpegError: The container is broken here.
        """
        begun = perf_counter()
        packet, self._held = self._held or self._next(), None
        self._seconds["read"] += perf_counter() - begun
        if packet is None or (packet.size == 0 and packet.pts is None and packet.dts is None):
            return None  # PyAV announces the end with an empty packet
        self.position += 1
        return packet

    def _next(self) -> Packet[AVVideoStream] | None:
        try:
            return next(self._packets, None)
        except av.FFmpegError:
            raise
        except OSError as error:  # of the source, not of what it holds
            raise VideoError(self.source, "unreadable", str(error)) from error

    def decode(
        self, packet: Packet[AVVideoStream] | None, name: int | None = None
    ) -> list[VideoFrame]:
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
        frames = self.stream.codec_context.decode(packet)
        self._seconds["decode"] += perf_counter() - begun
        return frames

    def skip_unreferenced(self, skip: bool) -> None:
        """Leave out, or not, the packets sent from now on that no other frame refers to."""
        self.stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"

    def flush(self) -> None:
        """Empty the decoder, which may then begin at another key frame."""
        self.stream.codec_context.flush_buffers()

    def seek(self, time: int, number: Callable[[int], int | None]) -> bool:
        """Seek to the key frame at or before a time.

        Args:
            time: In the stream's time base.
            number: Gives the number of the packet at a byte position.

        Returns:
            True if the number of the packet that `read` gives next is known, in `position`.
        """
        try:
            self._container.seek(time, stream=self.stream)
            self._packets = self._container.demux(self.stream)
            self._held = self._next()
        except av.FFmpegError:
            return False
        if self._held is None or self._held.pos is None:
            return False
        found = number(self._held.pos)
        self.position = -1 if found is None else found
        return found is not None

    def rewind(self) -> None:
        """Start again at the first packet, with a new decoder."""
        self.close()
        self._open()

    def rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Convert a frame to bytes (H, W, 3), turned counter-clockwise by `frame.rotation` degrees.

        Args:
            frame: A decoded frame.
        """
        begun = perf_counter()
        pixels = upright_rgb(frame, self._reformatter)
        self._seconds["convert"] += perf_counter() - begun
        return pixels

    def checksum(self, frame: VideoFrame) -> int:
        """Compute a CRC-32 of all that a frame's RGB bytes are made of.

        Of 8-bit planes that is their bytes, half as many as the RGB ones and without a conversion,
        and what the conversion depends on beside them; of any other format the RGB bytes.

        Args:
            frame: A decoded frame.
        """
        planes = frame.planes
        parts = frame.format.components
        if len(planes) != len(parts) or any(part.bits != 8 for part in parts):
            return zlib.crc32(np.ascontiguousarray(self.rgb(frame)).data)
        about = (frame.format.name, upright_shape(frame), frame.rotation, *_colours(frame))
        found = zlib.crc32(repr(about).encode())
        for plane in planes:
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            found = zlib.crc32(np.ascontiguousarray(rows[:, : plane.width]).data, found)
        return found

    def close(self) -> None:
        """Close the file."""
        self._packets = iter(())
        self._container.close()
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Packet[AVVideoStream]]:
        while (packet := self.read()) is not None:
            yield packet


def _address_of(source: Source) -> tuple[str, str]:
    """Address a file, or a part of one, that FFmpeg reads itself; empty where it cannot.

    Returns:
        The address, and the protocols that may be used: an absolute path is never taken for one,
        and nothing but files is ever opened.
    """
    if source.path is not None:
        return os.path.abspath(source.path), "file"
    span = source.span
    if span is None:
        return "", "none"
    part = f"subfile,,start,{span.start},end,{span.end},,:{os.path.abspath(span.path)}"
    return part, "file,subfile"


def _num_pixels(stream: AVVideoStream) -> int:
    """Count the pixels of a frame; 0 without a decoder."""
    context = stream.codec_context
    return 0 if context is None else context.width * context.height


def upright_rgb(frame: VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Convert a frame to bytes (H, W, 3), turned counter-clockwise by `frame.rotation` degrees.

    Args:
        frame: A decoded frame.
        reformatter: One for all frames of a video: on FFmpeg 8 a new one per frame leaks.
    """
    # one thread: the same bits
    plane = reformatter.reformat(frame, format="rgb24", threads=1).planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    pixels = rows[:, : plane.width * 3].reshape(plane.height, plane.width, 3)
    turns = quarter_turns(frame.rotation)
    return np.rot90(pixels, turns) if turns else pixels


def upright_shape(frame: VideoFrame) -> tuple[int, int]:
    """Rows and columns of a frame once it is turned, see `upright_rgb`."""
    sides = frame.height, frame.width
    return sides[::-1] if quarter_turns(frame.rotation) % 2 else sides


def _colours(frame: VideoFrame) -> tuple[object, ...]:
    """List what a frame says of its colours."""
    return frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc


def quarter_turns(rotation: int) -> int:
    """Count counter-clockwise quarter turns of a rotation in degrees; 0 of a broken one."""
    return round(rotation / 90) % 4 if abs(rotation) <= 360 else 0
