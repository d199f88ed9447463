"""Files and folders of this machine."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from datamodules.storage.base import Source

__all__ = ["LocalPath"]


@dataclass(frozen=True)
class LocalPath(Source):
    """A file or folder of this machine."""

    local: Path

    def __str__(self) -> str:
        return str(self.local)

    def __truediv__(self, name: str) -> Source:
        return LocalPath(self.local / name)

    @property
    def parent(self) -> "LocalPath | None":
        """See `Source`."""
        above = self.local.parent
        return None if above == self.local else LocalPath(above)

    @property
    def path(self) -> Path:
        """See `Source`."""
        return self.local

    def exists(self) -> bool:
        """See `Source`."""
        return self.local.exists()

    def is_file(self) -> bool:
        """See `Source`."""
        return self.local.is_file()

    def is_folder(self) -> bool:
        """See `Source`."""
        return os.path.isdir(self.local)

    def names(self) -> list[str]:
        """See `Source`."""
        return os.listdir(self.local)

    def entries(self) -> Iterator[tuple[str, bool]]:
        """See `Source`."""
        with os.scandir(self.local) as found:
            for entry in found:
                yield entry.name, entry.is_dir()

    def is_away(self) -> bool:
        """See `Source`."""
        try:
            return next(self.local.iterdir(), None) is None
        except OSError:
            return True

    def size(self) -> int:
        """See `Source`."""
        return self.local.stat().st_size

    def identity(self) -> tuple[object, ...]:
        """See `Source`."""
        state = self.local.stat()
        return os.path.abspath(self.local), state.st_size, state.st_mtime_ns

    def stamp(self) -> tuple[int, int]:
        """See `Source`; here the time of its change in nanoseconds."""
        state = self.local.stat()
        return state.st_size, state.st_mtime_ns

    def read(self, start: int, length: int) -> bytes:
        """See `Source`."""
        with self.local.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def open(self) -> BinaryIO:
        """See `Source`."""
        return self.local.open("rb")
