"""Files that were read for something: what came of it holds while they stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from datamodules.storage.base import Source

__all__ = ["note_reading", "readings"]

_noted: ContextVar[list[Source] | None] = ContextVar("readings", default=None)


@contextmanager
def readings() -> Iterator[list[Source]]:
    """Note the annotation files that are read within a `with` block."""
    found: list[Source] = []
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


def note_reading(source: Source) -> None:
    """Note that a file is read.

    Args:
        source: The file.
    """
    found = _noted.get()
    if found is not None:
        found.append(source)
