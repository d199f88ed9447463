"""Events: neighbouring stretches of time that show the same class, merged after the fact."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from datamodules.errors import UserError

__all__ = ["Event", "find_events"]

_ROUNDING = 1e-5
"""By which stored probabilities, of 6 digits, may miss their sum."""

_SAME_TIME = 1e-3
"""Seconds by which the end of a stretch may miss the begin of the next, by rounding."""


class LabelledStretch(Protocol):
    """A class in a stretch of time of a video; see `Row`."""

    @property
    def video(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def label(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def unlisted(self) -> float | None: ...


class Event(NamedTuple):
    """A class that is shown for some time.

    Attributes:
        video: Name of the video.
        start: Begin, in seconds.
        end: End, in seconds.
        label: Name of the class.
        probability: Mean over its stretches, weighted by their length.
    """

    video: str
    start: float
    end: float
    label: str
    probability: float


def find_events(
    rows: Iterable[LabelledStretch],
    threshold: float = 0.5,
    min_length: float = 0.0,
    max_gap: float = 0.0,
) -> Iterator[Event]:
    """Merge neighbouring stretches in which a class reaches a threshold.

    Each class is taken for itself, so that events of several may overlap below a threshold of a
    half. Rows are read once, and only the open events are kept.

    Args:
        rows: Stretches by video, then by time; all classes of a stretch stand together.
        threshold: Least probability of a stretch.
        min_length: Least seconds of an event.
        max_gap: Seconds below the threshold that an event bridges.

    Yields:
        Events as they end: by video, then by their end.

    Raises:
        UserError: If a number is not possible, or the rows leave out classes that might reach the
            threshold.
    """
    if not 0 < threshold <= 1 or min_length < 0 or max_gap < 0:
        raise UserError(
            f"threshold={threshold}, min_length={min_length}, max_gap={max_gap} are not possible; "
            "give a threshold above 0 up to 1, and seconds from 0 on"
        )
    merger = _Merger(min_length, max_gap)
    for stretch in _stretches(rows):
        _refuse_hidden(stretch, threshold)
        first = stretch[0]
        yield from merger.close_before(first.video, first.start)
        for row in stretch:
            if row.probability >= threshold:
                merger.add(row)
    yield from merger.close_all()


def _stretches(rows: Iterable[LabelledStretch]) -> Iterator[list[LabelledStretch]]:
    """Group the rows of each stretch of time."""
    group: list[LabelledStretch] = []
    for row in rows:
        if group and (row.video, row.start) != (group[0].video, group[0].start):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _refuse_hidden(stretch: list[LabelledStretch], threshold: float) -> None:
    """Refuse a threshold that a class which was not stored might reach."""
    shares = [row.probability for row in stretch]
    told = [row.unlisted for row in stretch if row.unlisted is not None]
    unseen = max(told) if told else min(1 - sum(shares), *shares)
    if unseen > _ROUNDING and unseen >= threshold:
        first = stretch[0]
        advice = "a lower --threshold or a higher --top" if told else "a higher --top"
        raise UserError(
            f"threshold={threshold} is too low for these rows: at {first.start:.2f} s of "
            f"{first.video} they hold {len(stretch)} classes, and one left out may have up to "
            f"{unseen:.3f}; raise the threshold, or label again with {advice}"
        )


class _Merger:
    """The events that are open, of one video at a time."""

    def __init__(self, min_length: float, max_gap: float) -> None:
        self._min_length = min_length
        self._max_gap = max_gap
        self._open: dict[str, tuple[Event, float]] = {}  # and the seconds that count for it
        self._video: str | None = None

    def add(self, row: LabelledStretch) -> None:
        """Go on with an event, or begin one."""
        seconds = max(row.end - row.start, 1e-9)
        event, weight = self._open.get(
            row.label, (Event(row.video, row.start, row.end, row.label, 0.0), 0.0)
        )
        total = weight + seconds
        mean = (event.probability * weight + row.probability * seconds) / total
        self._open[row.label] = event._replace(end=row.end, probability=mean), total

    def close_before(self, video: str, time: float) -> Iterator[Event]:
        """Give the events that end too long before a time for it to belong to them."""
        if video != self._video:
            yield from self.close_all()
            self._video = video
        for name, (event, _) in list(self._open.items()):
            if time - event.end > self._max_gap + _SAME_TIME:
                del self._open[name]
                yield from self._told(event)

    def close_all(self) -> Iterator[Event]:
        """Give all events."""
        for event, _ in sorted(self._open.values(), key=lambda pair: pair[0].end):
            yield from self._told(event)
        self._open.clear()

    def _told(self, event: Event) -> Iterator[Event]:
        if event.end - event.start >= self._min_length - _SAME_TIME:
            yield event
