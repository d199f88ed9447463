"""LabelTable: who shows what, from when to when, how probably; rows of a kind for people."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from datamodules.errors import UserError
from lightning_modules.prediction.events import Event, find_events

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["LabelTable", "Row"]

SHOWN = 40
"""Rows that are printed; the others are counted."""


class Row(NamedTuple):
    """A class in a stretch of time.

    Attributes:
        video: Name of the video.
        start: Begin, in seconds.
        end: End, in seconds.
        label: Name of the class.
        probability: From 0 to 1.
        unlisted: Highest probability of the classes of the stretch that no row names, of columns
            of those of the column; None where one class of all is shown.
    """

    video: str
    start: float
    end: float
    label: str
    probability: float
    unlisted: float | None = None


@dataclass(frozen=True)
class LabelTable:
    """Labels of one or more videos along time.

    Attributes:
        rows: By video, then by time, then the most probable class first.
        errors: Reason of each video that could not be read, by its name.
    """

    rows: tuple[Row, ...]
    errors: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __str__(self) -> str:
        shown = self.rows[:SHOWN]
        width = max((len(row.label) for row in shown), default=5)
        lines, last = [], None
        for row in shown:
            if row.video != last:
                lines.append(row.video)
                last = row.video
            span = f"{row.start:9.2f} -{row.end:9.2f} s"
            lines.append(f"{span}  {row.label:{width}}  {100 * row.probability:5.1f} %")
        if len(self.rows) > SHOWN:
            lines.append(f"... and {len(self.rows) - SHOWN} rows more")
        lines += [f"{video}: not labelled, {reason}" for video, reason in self.errors.items()]
        return "\n".join(lines) or "no rows"

    @property
    def best(self) -> tuple[Row, ...]:
        """The most probable class of each stretch of time; where several are shown, all rows."""
        best: dict[tuple[str, float, str], Row] = {}
        for row in self.rows:
            several = "" if row.unlisted is None else row.label
            best.setdefault((row.video, row.start, several), row)
        return tuple(best.values())

    def events(
        self, threshold: float = 0.5, min_length: float = 0.0, max_gap: float = 0.0
    ) -> list[Event]:
        """Merge neighbouring stretches that reach a threshold; see `find_events`."""
        return list(find_events(self.rows, threshold, min_length, max_gap))

    def to_frame(self) -> DataFrame:
        """Make a pandas DataFrame: video, start, end, class, probability.

        Raises:
            UserError: If pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise UserError(
                "a dataframe needs pandas, which is not installed; install it (uv pip install "
                "pandas), or use the rows of the table"
            ) from error
        columns = ["video", "start", "end", "class", "probability"]
        rows = [row[: len(columns)] for row in self.rows]
        frame: DataFrame = pandas.DataFrame.from_records(rows, columns=columns)
        return frame

    def plot(self, video: str | None = None, classes: Sequence[str] | None = None) -> Figure:
        """Draw probabilities along time, a line for each class.

        Args:
            video: Name of a video; None for the only one.
            classes: Names of the classes; None for those that are the most probable at some time.

        Raises:
            UserError: If there is no such video, or several and none is named.
        """
        from matplotlib.figure import Figure

        names = list(dict.fromkeys(row.video for row in self.rows))
        if video is None and len(names) != 1:
            raise UserError(f"the table is of {len(names)} videos; name the one to plot: {names}")
        video = names[0] if video is None else video
        if video not in names:
            raise UserError(f"the table has no video {video}; it has {names}")
        mine = [row for row in self.rows if row.video == video]
        shown = classes or list(dict.fromkeys(r.label for r in self.best if r.video == video))
        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.subplots()
        for name in shown:
            rows = [row for row in mine if row.label == name]
            times = [time for row in rows for time in (row.start, row.end, float("nan"))]
            shares = [share for row in rows for share in (row.probability,) * 2 + (float("nan"),)]
            axes.plot(times, shares, label=name, linewidth=2.5)
        axes.set(ylim=(0, 1.03), xlabel="time (s)", ylabel="probability", title=video)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        return figure
