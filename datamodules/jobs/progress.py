"""The progress bar of long jobs: on standard error, with the rate and the time left."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class RateColumn(ProgressColumn):
    """Units per second.

    Args:
        unit: Plural of the unit, such as "clips".
    """

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Render the rate, once it is known."""
        return Text("" if task.speed is None else f"{task.speed:.1f} {self.unit}/s")


def progress_bar(unit: str, *, shown: bool = True) -> Progress:
    """Make a progress bar that counts `unit`.

    Args:
        unit: Plural of the unit, such as "clips".
        shown: If True, draw it.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(unit),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )


def time_left(started: float, done: int, total: int) -> str:
    """Say how long the rest takes, as the end of a sentence; empty until one was timed.

    Args:
        started: Moment of the start, of `time.monotonic`.
        done: Number of those that are done.
        total: Number of all.
    """
    if not done:
        return ""
    seconds = (time.monotonic() - started) / done * (total - done)
    return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", {seconds:.0f} s left"
