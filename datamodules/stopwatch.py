"""The time of a loader: the seconds of each part of its work.

Times are those on the clock, each of one part alone: a part within another one is taken out of it.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Literal

__all__ = ["PARTS", "Part", "Seconds", "during", "running", "stopwatch"]

Part = Literal["open", "read", "decode", "convert", "resize", "rest", "collate", "transfer"]
"""Opening a video; reading its packets; decoding them; converting frames to RGB; crops and their
sizes; what lies between; making a batch of the clips; its way to the device."""

PARTS: tuple[Part, ...] = (
    *("open", "read", "decode", "convert", "resize", "rest", "collate", "transfer"),
)

Seconds = dict[Part, float]
"""Seconds of each part."""

_running: ContextVar[Seconds | None] = ContextVar("stopwatch", default=None)


@contextmanager
def stopwatch() -> Iterator[Seconds]:
    """Collect the seconds of each part of a `with` block."""
    seconds: Seconds = defaultdict(float)
    token = _running.set(seconds)
    try:
        yield seconds
    finally:
        _running.reset(token)


def running() -> Seconds:
    """Return what is collected now, or seconds that nobody reads."""
    seconds = _running.get()
    return defaultdict(float) if seconds is None else seconds


@contextmanager
def during(part: Part) -> Iterator[None]:
    """Count a `with` block as a part, less the parts within it.

    Args:
        part: The part.
    """
    seconds = running()
    inside, begun = sum(seconds.values()), perf_counter()
    try:
        yield
    finally:
        inside = sum(seconds.values()) - inside
        seconds[part] += perf_counter() - begun - inside
