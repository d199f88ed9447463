"""A pass over a dataset as commands make it: told, shared among runs, and gone on with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
        in_turns: If True, runs share the items in turns: evenly, where all runs have the same list.
            Else by name, as others may come and go.
    """

    items: Sequence[Video]
    part: tuple[int, int]
    is_done: Callable[[Video], bool]
    say: Callable[[str], None]
    noun: str = "videos"
    in_turns: bool = False

    def __str__(self) -> str:
        (index, count), missing = self.part, len(self.missing)
        part = f", {len(self._shared)} in part {index}/{count}" if count > 1 else ""
        there = len(self._shared) - missing
        return f"{len(self.items)} {self.noun}{part}, {there} there already, {missing} to do"

    @cached_property
    def _shared(self) -> list[Video]:
        index, count = self.part
        if self.in_turns:
            return [*self.items[index::count]]
        return take_shard(self.items, index, count)

    @cached_property
    def missing(self) -> list[Video]:
        """The items of this run that were not done at first."""
        return [item for item in self._shared if not self.is_done(item)]

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
        events = process_videos(work, self.missing, num_workers)
        report = follow_pass(title, events, len(self.missing), noun=self.noun, say=self.say)
        if self.missing:
            self.say(str(report))
        return report
