"""A pass over a dataset as commands make it: told, shared among runs, and gone on with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from datamodules.jobs.dataset_jobs import (
    Report,
    Video,
    VideoWork,
    follow_pass,
    process_videos,
    take_shard,
)

__all__ = ["SharedPass"]


@dataclass(frozen=True)
class SharedPass(Generic[Video]):
    """Work of a command on each item of a dataset, shared and gone on with.

    Attributes:
        items: All items.
        part: Index and number of the runs that share them.
        is_done: Tells whether what is made of an item is there.
        say: Writes a line.
        noun: What the items are, in the plural.
    """

    items: Sequence[Video]
    part: tuple[int, int]
    is_done: Callable[[Video], bool]
    say: Callable[[str], None]
    noun: str = "videos"

    def __str__(self) -> str:
        shared = take_shard(self.items, *self.part)
        missing = len(self.missing())
        index, count = self.part
        part = f", {len(shared)} in part {index}/{count}" if count > 1 else ""
        there = len(shared) - missing
        return f"{len(self.items)} {self.noun}{part}, {there} there already, {missing} to do"

    def missing(self) -> list[Video]:
        """List the items of this run that are not done."""
        return [item for item in take_shard(self.items, *self.part) if not self.is_done(item)]

    def left(self) -> int:
        """Count the items that are not done, by whichever run."""
        return sum(not self.is_done(item) for item in self.items)

    def run(self, title: str, work: VideoWork[Video], num_workers: int) -> Report[Video]:
        """Do what is missing, and say what became of it.

        Args:
            title: Name of the pass, for the progress bar.
            work: See `process_videos`.
            num_workers: Processes, 0 for this one.

        Raises:
            StorageError: See `follow_pass`.
            KeyboardInterrupt: Ctrl-C, after what is under way was put away.
        """
        missing = self.missing()
        events = process_videos(work, missing, num_workers)
        report = follow_pass(title, events, len(missing), noun=self.noun, say=self.say)
        if missing:
            self.say(str(report))
        return report
