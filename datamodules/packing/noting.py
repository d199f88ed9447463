"""Notes of the videos of a packed dataset; see `datamodules.video.indices.notes`."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from datamodules.storage.base import Source
from datamodules.storage.ranges import part_of, ranged
from datamodules.video.errors import VideoError
from datamodules.video.indices.notes import to_note
from datamodules.video.reader import VideoReader
from datamodules.video.stream import VideoStream
from datamodules.video.suffixes import VIDEO_SUFFIXES

__all__ = ["note_of"]


def note_of(source: Source) -> bytes:
    """Note a video, by reading all of its packets.

    Args:
        source: A file.

    Returns:
        The note; empty for any other file, and for a video that cannot be read.
    """
    if os.path.splitext(source.name)[1].lower() not in VIDEO_SUFFIXES:
        return b""
    recorded = _Recorded(source)
    try:
        with VideoReader(source) as video:
            index = video.index
        VideoStream(recorded, strict=False).close()
    except VideoError:
        return b""
    return to_note(replace(index, opening=_joined(recorded.parts)))


class _Recorded(Source):
    """A file that FFmpeg reads as if it lay elsewhere, with the parts that it reads.

    Args:
        source: The file.

    Attributes:
        parts: First byte of each, and the one behind its last.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.parts: list[tuple[int, int]] = []

    def __str__(self) -> str:
        return str(self._source)

    def __truediv__(self, name: str) -> Source:
        return self._source / name

    @property
    def parent(self) -> Source | None:
        """See `Source`."""
        return self._source.parent

    @property
    def path(self) -> Path | None:
        """See `Source`; FFmpeg has to ask for what it reads."""
        return None

    @property
    def is_elsewhere(self) -> bool:
        """See `Source`."""
        return True

    def exists(self) -> bool:
        """See `Source`."""
        return self._source.exists()

    def is_file(self) -> bool:
        """See `Source`."""
        return self._source.is_file()

    def is_folder(self) -> bool:
        """See `Source`."""
        return self._source.is_folder()

    def names(self) -> list[str]:
        """See `Source`."""
        return self._source.names()

    def size(self) -> int:
        """See `Source`."""
        return self._source.size()

    def identity(self) -> tuple[object, ...]:
        """See `Source`."""
        return self._source.identity()

    def read(self, start: int, length: int) -> bytes:
        """See `Source`."""
        return self._source.read(start, length)

    def open(self) -> BinaryIO:
        """See `Source`."""
        file = self._source.open()
        part = part_of(file, 0)

        def read(start: int, length: int) -> bytes:
            content = part(start, length)
            self.parts.append((start, start + len(content)))
            return content

        return ranged(read, self.size(), self.name, file.close, buffer=1)


def _joined(parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join parts that touch or overlap."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(parts):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined
