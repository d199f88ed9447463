"""One open video file, whose packets FFmpeg finds, whatever the container."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from time import perf_counter
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream as AVVideoStream

from datamodules.formats.containers import PLAYLISTS, ends_early
from datamodules.storage.source import Source
from datamodules.video.errors import MAX_PIXELS, VideoError, as_unreadable
from datamodules.video.packet_stream import PacketStream

# Containers in which a packet keeps its byte position and a seek lands on a listed packet.
_SEEKABLE = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
_BUFFER = 2**15
"""Bytes that FFmpeg asks a Python file for."""
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


class VideoStream(PacketStream):
    """The video stream of one file, read packet by packet.

    Of several streams it is the one of the largest frames, of equal ones the first; a cover picture
    is none.

    Args:
        source: The video file, already checked by `check_file`.
        strict: See `PacketStream`.

    Raises:
        VideoError: The file cannot be opened or holds no video stream that can be decoded.
    """

    def __init__(self, source: Source, *, strict: bool) -> None:
        super().__init__(source, strict=strict)
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
                buffer_size=_BUFFER,
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
        self.check_size(stream.codec_context.width, stream.codec_context.height)
        self._prepare(stream.codec_context)
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

    def rotation(self, frame: VideoFrame) -> int:
        """See `PacketStream`."""
        return frame.rotation

    def rewind(self) -> None:
        """Start again at the first packet, with a new decoder."""
        self.close()
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._packets = iter(())
        self._container.close()
        if self._file is not None:
            self._file.close()


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
