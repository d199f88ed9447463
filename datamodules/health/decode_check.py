"""Decoding whole videos to see whether they can be: in processes, each within a time limit."""

import contextlib
import math
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from typing import Literal, NamedTuple, get_args

import torch

from datamodules.video.errors import Reason
from datamodules.video.reader import VideoError, VideoSegment, open_video

Verdict = Reason | Literal["time limit", "crash"]
"""Why a video cannot be used: `VideoError.reason`, or its decoding had to be ended, or died."""

VERDICTS: frozenset[Verdict] = frozenset((*get_args(Reason), "time limit", "crash"))

PASSING: frozenset[Verdict] = frozenset({"missing", "unreadable", "crash"})
"""Verdicts that may be gone a moment later: a busy server, a machine short of memory."""

DECODER = f"PyAV {version('av')}"
"""What verdicts depend on besides the file."""

_CHUNK = 2**24
"""Pixels that are decoded at a time."""

_GRACE = 2.0
"""Seconds that a process which was ended may take to disappear."""


class Part(NamedTuple):
    """A video file or frame folder, or a stretch of one.

    Attributes:
        path: Where it is.
        start: Where the stretch begins, in seconds; None for the file's start.
        end: Where it ends; None for the file's end.
    """

    path: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of decoding every frame of a video.

    Attributes:
        path: See `Part`.
        start: See `Part`.
        end: See `Part`.
        size: Of the file or folder then, in bytes.
        mtime_ns: When it had been changed, in nanoseconds.
        verdict: Why it cannot be used; None if it can.
        detail: What exactly was found.
        num_frames: Number of frames of the part.
        frame_rate: Frames per second; 0 for a frame folder, which has none.
        height: Rows, 0 if unknown.
        width: Columns, 0 if unknown.
        nbytes: Bytes on disk, all images of a frame folder together.
        decode_seconds: Time that decoding took.
        decoder: What decoded it.
    """

    path: str
    start: float | None
    end: float | None
    size: int
    mtime_ns: int
    verdict: Verdict | None = None
    detail: str = ""
    num_frames: int = 0
    frame_rate: float = 0.0
    height: int = 0
    width: int = 0
    nbytes: int = 0
    decode_seconds: float = 0.0
    decoder: str = DECODER

    @property
    def part(self) -> Part:
        """What was decoded."""
        return Part(self.path, self.start, self.end)


def decode_part(part: Part) -> Probe:
    """Decode every frame of a video, a few at a time.

    Args:
        part: The video.
    """
    begin = time.perf_counter()
    probe = _untouched(part)
    try:
        with open_video(part.path) as video:
            is_folder = os.path.isdir(part.path)
            probe = replace(
                probe,
                num_frames=video.num_frames,
                frame_rate=0.0 if is_folder else video.frame_rate,
                height=video.height,
                width=video.width,
                nbytes=_folder_bytes(part.path) if is_folder else probe.size,
            )
        times = (math.nan if time is None else time for time in part[1:])
        with VideoSegment(part.path, *times) as segment:
            probe = replace(probe, num_frames=segment.num_frames)
            step = max(1, _CHUNK // max(1, probe.height * probe.width))
            for first in range(0, segment.num_frames, step):
                segment.get_frames(range(first, min(first + step, segment.num_frames)))
    except VideoError as error:
        probe = replace(probe, verdict=error.reason, detail=error.detail)
    return replace(probe, decode_seconds=time.perf_counter() - begin)


def _untouched(part: Part) -> Probe:
    """A probe that tells only which file it is of."""
    try:
        state = os.stat(part.path)
    except OSError:  # decoding will name the reason
        return Probe(*part, size=0, mtime_ns=0)
    return Probe(*part, size=state.st_size, mtime_ns=state.st_mtime_ns)


def _folder_bytes(path: str) -> int:
    with os.scandir(path) as entries:
        return sum(entry.stat().st_size for entry in entries)


def _serve(connection: "Connection[Probe | None, Part]") -> None:
    """Decode what is sent until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that reports
    torch.set_num_threads(1)
    try:
        connection.send(None)  # everything is imported
        while True:
            connection.send(decode_part(connection.recv()))
    except (EOFError, BrokenPipeError):
        return


class _Decoder:
    """A process that decodes one video after another, and can be ended at any moment.

    Args:
        part: Its first video.
        limit: Seconds that one video may take; those in which the process starts do not count.
    """

    def __init__(self, part: Part, limit: float) -> None:
        # not a fork: this process has threads, which a fork would leave behind holding locks
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._limit = limit
        self._is_started = False
        self.give(part)

    def give(self, part: Part) -> None:
        """Let it decode a video."""
        self.part = part
        with contextlib.suppress(BrokenPipeError):  # the process is dead: `take` will say so
            self.connection.send(part)
        self.deadline = time.monotonic() + self._limit if self._is_started else math.inf

    def take(self) -> Probe | None:
        """What it reports; None when it has started with its first video.

        Raises:
            RuntimeError: The process could not start.
        """
        try:
            probe: Probe | None = self.connection.recv()
        except (EOFError, ConnectionError):
            self._process.join(_GRACE)
            self.end()
            if not self._is_started:
                raise RuntimeError("a decoding process did not start; see above") from None
            detail = f"decoding it ended the process, with exit code {self._process.exitcode}"
            return replace(_untouched(self.part), verdict="crash", detail=detail)
        if probe is None:
            self._is_started = True
            self.deadline = time.monotonic() + self._limit
        return probe

    def give_up(self) -> Probe:
        """End it because its video takes too long."""
        self.end()
        detail = f"decoding it was ended after {self._limit:g} s"
        probe = _untouched(self.part)
        return replace(probe, verdict="time limit", detail=detail, decode_seconds=self._limit)

    def end(self) -> None:
        """End it, without waiting for a process that a dead disk holds."""
        if not self.connection.closed:
            self.connection.close()
            self._process.kill()
            self._process.join(_GRACE)


def decode_all(parts: Iterable[Part], num_workers: int, limit: float) -> Iterator[Probe]:
    """Decode videos in processes, and give what came of each as it is ready.

    A video that takes longer than the limit, or whose decoding takes its process down, gets a
    verdict too, and a new process goes on.

    Args:
        parts: The videos.
        num_workers: Number of processes.
        limit: Seconds that one video may take.
    """
    waiting = deque(parts)
    decoders = [_Decoder(waiting.popleft(), limit) for _ in range(min(num_workers, len(waiting)))]
    try:
        while decoders:
            soonest = min(decoder.deadline for decoder in decoders)
            left = None if math.isinf(soonest) else max(0.0, soonest - time.monotonic())
            ready = wait([decoder.connection for decoder in decoders], left)
            for decoder in list(decoders):
                if decoder.connection in ready:
                    probe = decoder.take()
                elif time.monotonic() >= decoder.deadline:
                    probe = decoder.give_up()
                else:
                    continue
                if probe is None:
                    continue
                if waiting and not decoder.connection.closed:
                    decoder.give(waiting.popleft())
                else:
                    decoders.remove(decoder)
                    decoder.end()
                    if waiting:
                        decoders.append(_Decoder(waiting.popleft(), limit))
                yield probe
    finally:
        for decoder in decoders:
            decoder.end()
