"""A check that whole videos decode: in processes, each within a time limit."""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple, Never, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.errors import ShardError
from datamodules.health.fingerprints import (
    FOLDER_RATE,
    packed,
    sampled_frames,
    tiny_frames,
)
from datamodules.jobs.processes import Done, Lost, run_jobs
from datamodules.storage.source import Source, as_source
from datamodules.video.errors import Reason
from datamodules.video.indices.cache import DECODER
from datamodules.video.quarantine import PASSING as PASSING_REASONS
from datamodules.video.reader import VideoError, open_video
from datamodules.video.segment import VideoSegment, frames_between

Verdict = Reason | Literal["time limit", "crash"]
"""The reason why a video cannot be used: `VideoError.reason`, or decoding was stopped or died."""

VERDICTS: frozenset[Verdict] = frozenset((*get_args(Reason), "time limit", "crash"))

PASSING: frozenset[Verdict] = frozenset((*PASSING_REASONS, "crash"))
"""Verdicts that may be gone a moment later: a busy server, a machine short of memory."""

_CHUNK = 2**24
"""Pixels that are decoded at a time."""


class Part(NamedTuple):
    """A video file or frame folder, or a stretch of one.

    Attributes:
        path: Path of the file or folder.
        start: Begin of the stretch, in seconds; None for the file's start.
        end: Its end, in seconds; None for the file's end.
    """

    path: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """The result of decoding every frame of a video.

    Attributes:
        path: See `Part`.
        start: See `Part`.
        end: See `Part`.
        size: Of the file or folder then, in bytes.
        mtime_ns: Time of its last change then, in nanoseconds.
        verdict: The reason why it cannot be used; None if it can.
        detail: The exact finding.
        num_frames: Number of frames of the part.
        frame_rate: Frames per second; 0 for a frame folder, which has none.
        height: Rows, 0 if unknown.
        width: Columns, 0 if unknown.
        nbytes: Bytes on disk, all images of a frame folder together.
        decode_seconds: Time that decoding took.
        decoder: The decoder, with its version.
        fingerprint: Its fingerprint, see `packed`; empty where none was asked for, or it is broken.
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
    fingerprint: str = ""

    @property
    def part(self) -> Part:
        """The file or stretch that was decoded."""
        return Part(self.path, self.start, self.end)


def decode_part(part: Part, with_fingerprint: bool = False) -> DecodeResult:
    """Decode every frame of a video, a few at a time.

    Args:
        part: The video.
        with_fingerprint: If True, take its fingerprint on the way.
    """
    begin = time.perf_counter()
    result, source = _untouched(part), as_source(part.path)
    try:
        with open_video(source) as video:
            is_folder, shown = source.is_folder(), video.timestamps
            result = replace(
                result,
                num_frames=video.num_frames,
                frame_rate=0.0 if is_folder else video.frame_rate,
                height=video.height,
                width=video.width,
                nbytes=_folder_bytes(source) if is_folder else result.size,
            )
        start, end = (math.nan if time is None else time for time in part[1:])
        with VideoSegment(part.path, start, end) as segment:
            result = replace(result, num_frames=segment.num_frames)
            chosen = np.zeros(0, np.int64)
            if with_fingerprint:
                first, count = frames_between(shown, start, end)
                chosen = sampled_frames(
                    shown[first : first + count] / (FOLDER_RATE if is_folder else 1)
                )
            step = max(1, _CHUNK // max(1, result.height * result.width))
            tiny = [tiny_frames(frames) for frames in _decoded(segment, chosen, step)]
        result = replace(result, fingerprint=packed(tiny))
    except VideoError as error:
        result = replace(result, verdict=error.reason, detail=error.detail)
    except ShardError as error:
        result = replace(result, verdict="unreadable", detail=str(error))
    return replace(result, decode_seconds=time.perf_counter() - begin)


def _decoded(segment: VideoSegment, chosen: NDArray[np.int64], step: int) -> Iterator[Tensor]:
    """Decode all frames of a video, and yield the chosen ones of each `step`, (N, C, H, W)."""
    for first in range(0, segment.num_frames, step):
        numbers = range(first, min(first + step, segment.num_frames))
        frames = segment.get_frames(numbers)
        low, high = np.searchsorted(chosen, (numbers.start, numbers.stop))
        if high > low:
            yield frames[torch.from_numpy(chosen[low:high] - first)]


def _untouched(part: Part) -> DecodeResult:
    """Make a result that holds only the file's size and time of change."""
    try:
        size, changed = as_source(part.path).stamp()
    except OSError:  # decoding will name the reason
        return DecodeResult(*part, size=0, mtime_ns=0)
    return DecodeResult(*part, size=size, mtime_ns=changed)


def _folder_bytes(folder: Source) -> int:
    return sum((folder / name).size() for name, is_folder in folder.entries() if not is_folder)


def decode_all(
    parts: Sequence[Part], num_workers: int, limit: float, with_fingerprints: bool = False
) -> Iterator[DecodeResult]:
    """Decode videos in processes, and give the result of each as it is ready.

    A video that takes longer than the limit, or whose decoding takes its process down, gets a
    verdict too.

    Args:
        parts: The videos.
        num_workers: Number of processes.
        limit: Seconds that one video may take.
        with_fingerprints: If True, take fingerprints on the way.
    """
    decode = partial(_decode, with_fingerprint=with_fingerprints)
    jobs = run_jobs(
        decode, parts, num_workers, time_limit=limit, preload=__name__, grace=0.0
    )  # nothing to tidy
    with closing(jobs):
        for news in jobs:
            if isinstance(news, Lost):
                yield _verdict_of(news, limit)
            elif isinstance(news, Done):
                yield news.result


def _decode(part: Part, with_fingerprint: bool) -> Generator[Never, None, DecodeResult]:
    """Decode a video in a process of its own."""
    yield from ()  # no steps within a video
    torch.set_num_threads(1)
    return decode_part(part, with_fingerprint)


def _verdict_of(lost: Lost[Part], limit: float) -> DecodeResult:
    """Make the result of a video that took its process along."""
    result = _untouched(lost.item)
    if lost.exit_code is None:
        detail = f"decoding it was ended after {limit:g} s"
        return replace(result, verdict="time limit", detail=detail, decode_seconds=limit)
    detail = f"decoding it ended the process, with exit code {lost.exit_code}"
    return replace(result, verdict="crash", detail=detail)
