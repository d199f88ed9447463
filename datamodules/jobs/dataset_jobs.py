"""One pass over the items of a dataset: shared, resumed, side by side, and told as it goes on.

A command that does something with each video, however long that takes, is

    shared = take_shard(videos, *read_shard("0/4"))              # this run's part of the work
    todo = [video for video in shared if not is_done(video)]     # a stopped run goes on here
    events = process_videos(work, todo, num_workers)             # in processes that may die
    report = follow_pass("transcoding", events, len(todo))       # progress, Ctrl-C, full disks

where `work(video)` yields a `Step` now and then, raises `VideoError` for a video that cannot be
done, and leaves what it makes whole or not at all, so that `is_done` can tell. Code that needs no
steps, or does the work in another way, gives `follow_pass` events of its own.
"""

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from datamodules.errors import ShardError, StorageError, UserError
from datamodules.jobs.processes import Advanced, Done, Lost, run_jobs
from datamodules.jobs.progress import progress_bar
from datamodules.video.errors import VideoError

__all__ = [
    "SHARD_HELP",
    "Event",
    "Report",
    "Step",
    "VideoWork",
    "follow_pass",
    "process_videos",
    "read_shard",
    "take_shard",
]

LINE_SECONDS = 60
"""Seconds between two lines of progress where no bar can be drawn."""

Video = TypeVar("Video")


class Step(NamedTuple):
    """A part of a video that was done.

    Attributes:
        frames: Number of frames.
        share: Share of the video, from 0 to 1.
    """

    frames: int
    share: float


VideoWork: TypeAlias = Callable[[Video], Generator[Step, None, None]]


class Event(NamedTuple, Generic[Video]):
    """News of a video.

    Attributes:
        video: The video.
        step: The part that was done now; None at its end.
        error: At its end, the reason why it could not be done; empty where it was.
    """

    video: Video
    step: Step | None
    error: str = ""


SHARD_HELP = "this run's part of the videos, such as 0/4 to 3/4 for four runs"
"""What `--shard` of the commands says."""


def read_shard(text: str) -> tuple[int, int]:
    """Parse the index and number of the runs that share the work.

    Args:
        text: As a user gives it, such as `0/4`.

    Raises:
        UserError: If it is no such thing.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise UserError(
            f"--shard {text} is not possible; give I/N with I from 0 to N - 1, such as 0/4"
        )
    return int(match[1]), int(match[2])


def take_shard(items: Sequence[Video], index: int, count: int) -> list[Video]:
    """Select the items of one of several runs that share the work.

    Which run an item belongs to follows from its name alone, which is what `str` makes of it, so it
    stays when others come or go.

    Args:
        items: All of them.
        index: Index of the run, 0 <= index < count.
        count: Number of runs.
    """

    def place(item: Video) -> int:  # of a CRC the last bit may be the same for all numbered names
        return int.from_bytes(hashlib.blake2b(os.fsencode(str(item)), digest_size=8).digest())

    return [item for item in items if place(item) % count == index]


@dataclass(frozen=True)
class _Attempt(Generic[Video]):
    """Work whose faults are told apart: the video's own in words, those of the disk as they are."""

    work: VideoWork[Video]

    def __call__(self, video: Video) -> Generator[Step, None, str | OSError | ShardError]:
        try:
            with closing(self.work(video)) as steps:
                yield from steps
        except VideoError as error:
            return f"{error.reason}: {error.detail}"
        except (OSError, ShardError) as error:
            return error
        return ""


def process_videos(
    work: VideoWork[Video], videos: Sequence[Video], num_workers: int
) -> Generator[Event[Video], None, None]:
    """Do something with videos, in this process or in others; see `run_jobs`.

    A video that cannot be read, or takes its process along with it, is reported, and the rest goes
    on.

    Args:
        work: Processes a video step by step; a function or object that can be pickled.
        videos: Arguments of `work`, one after another; can be pickled.
        num_workers: Processes, 0 for this one.

    Yields:
        The steps and the end of each video, as they happen.

    Raises:
        OSError: `work` raised it: not a video's fault.
        ShardError: The same.
        RuntimeError: In a process `work` raised something else; with its traceback.
    """
    with closing(run_jobs(_Attempt(work), videos, min(num_workers, len(videos)))) as jobs:
        for news in jobs:
            match news:
                case Advanced(video, step):
                    yield Event(video, step)
                case Lost(video, reason):
                    yield Event(video, None, reason)
                case Done(video, OSError() | ShardError() as error):
                    raise error
                case Done(video, str(error)):
                    yield Event(video, None, error)


class Report(Generic[Video]):
    """Progress of a pass over a dataset.

    Args:
        total: Videos of the pass.
        known: Those of them that an earlier run did.
        noun: What is passed over, in the plural.

    Attributes:
        done: Videos that are done, known ones included.
        frames: Frames of their steps.
        failed: Those that cannot be done, and the reasons.
    """

    def __init__(self, total: int, known: int = 0, noun: str = "videos") -> None:
        self.total, self.noun = total, noun
        self.known = self.done = known
        self.frames = 0
        self.failed: list[tuple[Video, str]] = []
        self._shares: dict[Video, float] = {}  # of videos under way
        self._begin = time.monotonic()

    def __str__(self) -> str:
        return f"{self.done} of {self.total} {self.noun} done, {self.rate}"

    @property
    def rate(self) -> str:
        """Frames per second, or items where nothing tells of frames."""
        seconds = max(time.monotonic() - self._begin, 1e-9)
        if self.frames:
            return f"{self.frames / seconds:.1f} frames/s"
        return f"{(self.done - self.known) / seconds:.1f} {self.noun}/s"

    @property
    def time_left(self) -> timedelta | None:
        """Time that the rest takes at this rate; None where that cannot be told yet."""
        made = self.done - self.known + len(self.failed) + sum(self._shares.values())
        rest = self.total - self.known - made
        elapsed = time.monotonic() - self._begin
        return timedelta(seconds=round(rest / made * elapsed)) if made > 0 else None

    def count(self, event: Event[Video]) -> float:
        """Count an event, and return the share of a video by which the pass advances."""
        if event.step is not None:
            self.frames += event.step.frames
            self._shares[event.video] = self._shares.get(event.video, 0.0) + event.step.share
            return event.step.share
        if event.error:
            self.failed.append((event.video, event.error))
        else:
            self.done += 1
        return 1 - self._shares.pop(event.video, 0.0)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def follow_pass(
    title: str,
    events: Generator[Event[Video], None, None],
    total: int,
    *,
    known: int = 0,
    noun: str = "videos",
    shown: bool | None = None,
    say: Callable[[str], None] = _tell,
) -> Report[Video]:
    """Run a pass: count its events, and show the rate and the time left.

    Args:
        title: Name of the pass, for the progress bar.
        events: The events of the pass, to its end.
        total: Videos of the pass.
        known: Those of them that an earlier run did, so that nothing happens to them.
        noun: What is passed over, in the plural.
        shown: If True, draw a bar; if False, write a line now and then. By default True if standard
            error is a terminal.
        say: Writes a line; to standard error by default.

    Returns:
        The final report.

    Raises:
        StorageError: The disk is full, or gone; what was done before is kept.
        KeyboardInterrupt: Ctrl-C, after what is under way was put away.
    """
    report, told = Report[Video](total, known, noun), time.monotonic()
    shown = sys.stderr.isatty() if shown is None else shown
    try:
        with closing(events), progress_bar(noun, shown=shown) as bar:
            task = bar.add_task(title, total=total, completed=known)
            for event in events:
                share = report.count(event)
                bar.update(task, advance=share, description=f"{title}, {report.rate}")
                if not shown and time.monotonic() - told >= LINE_SECONDS:
                    told, left = time.monotonic(), report.time_left
                    say(f"{report}" if left is None else f"{report}, {left} left")
    except KeyboardInterrupt:
        say(f"{report}; the same command again goes on with the rest")
        raise
    except OSError as error:
        raise StorageError(
            f"{report}, then {error}; correct that, and give the same command again, which goes on "
            "with the rest"
        ) from error
    return report
