"""Frames that come while they happen: a camera, a stream, a pipe, a test picture of FFmpeg."""

import math
import re
import sys
import time as clock
from collections.abc import Iterator
from typing import Any, BinaryIO, Self

import av
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from datamodules.errors import UserError
from datamodules.streaming.sources import Frame, Wanted, check_rate
from datamodules.video.errors import MAX_PIXELS, VideoError
from datamodules.video.packet_stream import upright_rgb

__all__ = ["LiveFrames"]

PATIENCE = 10.0
"""Seconds that a stream may take to open, and to send something."""

_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none")}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class LiveFrames:
    """The frames of a camera, stream, pipe or test picture, in order, as they come.

    They are numbered, and timed, from the first one on. With a frame rate of one's own choice,
    frames are left out and repeated as in `FileFrames`. A packet that is damaged is left out and
    counted; it does not end a stream.

    Args:
        address: `camera:0`, an address such as `rtsp://...` or `udp://...`, a file as FFmpeg reads
            it, `lavfi:testsrc2=size=320x240:rate=25` for a filter of FFmpeg, or `-` for standard
            input; or an open binary file.
        frame_rate: Frames per second to take; None for its own.

    Attributes:
        name: The address.
        frame_rate: Frames per second.
        num_frames: None, as the end is not known.
        damaged: Packets that could not be decoded.

    Raises:
        VideoError: It cannot be opened, or holds no video.
        UserError: If there is no such kind of address, or the rate is not above 0.
    """

    def __init__(self, address: str | BinaryIO, frame_rate: float | None = None) -> None:
        check_rate(frame_rate)
        self.name = address if isinstance(address, str) else "a pipe"
        self._container = _open(address)
        self.num_frames: int | None = None
        self.damaged = 0
        self._begin: float | None = None
        self._reformatter = VideoReformatter()
        try:
            if not self._container.streams.video:
                raise VideoError(self.name, "no video stream", "it holds no pictures")
            self._stream = self._container.streams.video[0]
            own_rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
            if not (frame_rate or own_rate):
                raise VideoError(
                    self.name, "no times", "it does not tell its rate; give frame_rate"
                )
        except BaseException:
            self._container.close()
            raise
        self._own_rate = own_rate or float(frame_rate or 0)
        self._is_resampled = frame_rate is not None and frame_rate != own_rate
        self.frame_rate = frame_rate or own_rate

    def frames(self, wanted: Wanted, first: int = 0) -> Iterator[Frame]:
        """See `FrameSource.frames`; a stream begins where it is."""
        assert first == 0, "a stream cannot be wound"
        shown = self._at_rate() if self._is_resampled else self._timed()
        for number, (time, frame) in enumerate(shown):
            pixels = None
            if wanted(number, number + 1)[0]:
                rgb = upright_rgb(frame, self._reformatter, frame.rotation)
                pixels = torch.from_numpy(rgb.copy()).permute(2, 0, 1)
            yield Frame(number, time, pixels)

    def seconds_since_begin(self) -> float:
        """Measure the time since the first frame came, by the clock."""
        return 0.0 if self._begin is None else clock.monotonic() - self._begin

    def _timed(self) -> Iterator[tuple[float, VideoFrame]]:
        """Give frames with the seconds since the first one."""
        begin, last = None, -1 / self._own_rate
        for frame in self._decoded():
            if self._begin is None:
                self._begin = clock.monotonic()
            time = frame.time
            if time is not None and begin is None:
                begin = time - (last + 1 / self._own_rate)
            since = last + 1 / self._own_rate if time is None or begin is None else time - begin
            last = max(since, last)  # a time stamp may not go back
            yield last, frame

    def _at_rate(self) -> Iterator[tuple[float, VideoFrame]]:
        """Give the frame that is on show at each multiple of 1 / rate."""
        held, tick = None, 0
        for time, frame in self._timed():
            due = math.floor(time * self.frame_rate + 0.5)
            while held is not None and tick < due:
                yield tick / self.frame_rate, held
                tick += 1
            held = frame
        if held is not None:
            yield tick / self.frame_rate, held

    def _decoded(self) -> Iterator[VideoFrame]:
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    self.damaged += 1
                    continue
                for frame in frames:
                    if frame.width * frame.height > MAX_PIXELS:
                        raise VideoError(
                            self.name, "too large", f"{frame.width}x{frame.height} pixels"
                        )
                    yield frame
        except (av.FFmpegError, OSError) as error:
            raise VideoError(self.name, "unreadable", f"it broke off ({error})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()


def _open(address: str | BinaryIO) -> InputContainer:
    """Open a container that may be endless."""
    target, options = _target(address)
    name = address if isinstance(address, str) else "a pipe"
    try:
        container: InputContainer = av.open(target, mode="r", **options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(name, "unreadable", f"it cannot be opened ({error})") from error
    return container


def _target(address: str | BinaryIO) -> tuple[Any, dict[str, Any]]:
    """Turn an address into what `av.open` takes."""
    if not isinstance(address, str):
        return address, {}
    if address == "-":
        return sys.stdin.buffer, {}
    kind, _, rest = address.partition(":")
    if kind == "lavfi":
        return rest, {"format": "lavfi"}
    if kind == "camera":
        if sys.platform not in _CAMERAS or not rest.isdigit():
            raise UserError(
                f"{address} is no camera that can be opened here; give camera:0 or another number, "
                "on Linux or macOS, or the address of a stream"
            )
        form, pattern = _CAMERAS[sys.platform]
        return pattern.format(rest), {"format": form}
    if not _SCHEME.match(address):
        return address, {}
    return address, {"timeout": (PATIENCE, PATIENCE)}
