"""Notes of the videos of a packed dataset; see `datamodules.video.indices.notes`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from datamodules.storage.local import LocalPath
from datamodules.storage.ranges import part_of, ranged
from datamodules.video.errors import VideoError
from datamodules.video.indices.notes import Note, Ranges
from datamodules.video.reader import VideoReader
from datamodules.video.stream import VideoStream
from datamodules.video.suffixes import VIDEO_SUFFIXES

__all__ = ["note_of"]


def note_of(path: Path) -> bytes:
    """Note a video, by reading all of its packets.

    Args:
        path: A file.

    Returns:
        The note; empty for an image, and for a video that cannot be read.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return b""
    try:
        with VideoReader(path) as video:
            index = video.index
        recorded = _Recorded(path)
        VideoStream(recorded, strict=False).close()
    except VideoError:
        return b""
    return Note(index, _joined(recorded.parts)).to_bytes()


@dataclass(frozen=True)
class _Recorded(LocalPath):
    """A file that FFmpeg reads through Python, which notes the parts that are read."""

    parts: Ranges = field(default_factory=list)

    @property
    def path(self) -> None:  # type: ignore[override]  # so that it is not opened by name
        """See `Source`."""
        return None

    @property
    def is_elsewhere(self) -> bool:
        """See `Source`; read as it will be where it is."""
        return True

    def open(self) -> BinaryIO:
        """See `Source`."""
        file = self.local.open("rb", buffering=0)
        part = part_of(file, 0)

        def read(start: int, length: int) -> bytes:
            content = part(start, length)
            self.parts.append((start, start + len(content)))
            return content

        return ranged(read, self.size(), self.name, file.close, buffer=1)


def _joined(parts: Sequence[tuple[int, int]]) -> Ranges:
    """Join parts that touch or overlap."""
    joined: Ranges = []
    for start, end in sorted(parts):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined
