"""The progress bar of long jobs: on standard error, with the rate and the time left."""

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
