"""Interface of all sources: files and folders that can be read, wherever they lie."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["Source", "Span"]


class Span(NamedTuple):
    """A part of a file on this machine.

    Attributes:
        path: The file.
        start: First byte of the part.
        end: The byte behind its last.
    """

    path: Path
    start: int
    end: int


class Source(ABC):
    """A file or folder to read from.

    Equal sources are the same file or folder; they can be pickled.
    """

    @abstractmethod
    def __str__(self) -> str:
        """Return its path or address as a person writes it."""

    @abstractmethod
    def __truediv__(self, name: str) -> "Source":
        """Return the source under a name in this folder."""

    @property
    @abstractmethod
    def parent(self) -> "Source | None":
        """The folder that it is in; None at the top."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return str(self).rstrip("/").rpartition("/")[2]

    @property
    def path(self) -> Path | None:
        """Its path on this machine, for libraries that open files; None elsewhere."""
        return None

    @property
    def span(self) -> Span | None:
        """The part of a file on this machine that it is, as it stands there; None elsewhere."""
        return None

    @property
    def is_elsewhere(self) -> bool:
        """True where what it holds has to be fetched from another machine."""
        return False

    def is_away(self) -> bool:
        """Check that a folder is gone, or empty as a place is where nothing is mounted."""
        try:
            return not self.names()
        except OSError:
            return True

    @abstractmethod
    def exists(self) -> bool:
        """Check that there is something."""

    @abstractmethod
    def is_file(self) -> bool:
        """Check that there is a file."""

    @abstractmethod
    def is_folder(self) -> bool:
        """Check that there is a folder."""

    @abstractmethod
    def names(self) -> list[str]:
        """List the names of all that lies in this folder, in any order."""

    def entries(self) -> Iterator[tuple[str, bool]]:
        """List this folder: the name of each entry, and whether it is a folder, in any order."""
        for name in self.names():
            yield name, (self / name).is_folder()

    @abstractmethod
    def size(self) -> int:
        """Return the bytes of the file, as a number."""

    @abstractmethod
    def identity(self) -> tuple[object, ...]:
        """Return values that change with the file's content, as far as can be told; for caches."""

    def stamp(self) -> tuple[int, int]:
        """Return the bytes of the file as a number, and one that changes with what it holds."""
        return self.size(), zlib.crc32(repr(self.identity()).encode())

    def note(self) -> bytes:
        """Return what its dataset notes of it, for who reads it as a video; empty for nothing."""
        return b""

    def fetch(self, parts: Iterable[tuple[int, int]]) -> None:  # noqa: B027  # here all is there
        """Fetch parts of the file that are read soon, where it lies elsewhere and that is possible.

        Args:
            parts: First byte of each, and the one behind its last.
        """

    @abstractmethod
    def read(self, start: int, length: int) -> bytes:
        """Read a part of the file.

        Args:
            start: Its first byte.
            length: Bytes; fewer are given where the file ends.
        """

    @abstractmethod
    def open(self) -> BinaryIO:
        """Open the file for reading here and there."""
