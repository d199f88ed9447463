"""Members of a zip or tar."""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from datamodules.storage.archives import (
    ZIP_HEADER,
    Contents,
    Member,
    header_length,
    inflate,
    read_contents,
)
from datamodules.storage.base import Source
from datamodules.storage.ranges import part_of, ranged

__all__ = ["ArchiveMember"]


@dataclass(frozen=True)
class ArchiveMember(Source):
    """A file or folder in a zip or tar.

    Attributes:
        archive: The archive.
        member: Path in it, without slashes at its ends; empty for all of it.
    """

    archive: Source
    member: str

    def __str__(self) -> str:
        return f"{self.archive}!/{self.member}"

    def __truediv__(self, name: str) -> "ArchiveMember":
        return ArchiveMember(self.archive, f"{self.member}/{name}".strip("/"))

    @property
    def is_elsewhere(self) -> bool:
        """See `Source`."""
        return self.archive.is_elsewhere

    @property
    def parent(self) -> "ArchiveMember | None":
        """See `Source`."""
        above = self.member.rpartition("/")[0]
        return ArchiveMember(self.archive, above) if self.member else None

    @property
    def _contents(self) -> Contents:
        return _contents(self.archive, self.archive.identity())

    def _entry(self) -> Member:
        found = self._contents.files.get(self.member)
        if found is None:
            raise FileNotFoundError(f"{self.archive} has no file {self.member} that can be read")
        return found

    def exists(self) -> bool:
        """See `Source`."""
        return self.is_file() or self.is_folder()

    def is_file(self) -> bool:
        """See `Source`."""
        return self.archive.exists() and self.member in self._contents.files

    def is_folder(self) -> bool:
        """See `Source`."""
        return self.archive.exists() and self.member in self._contents.folders

    def names(self) -> list[str]:
        """See `Source`."""
        if self.member not in self._contents.folders:
            raise FileNotFoundError(f"{self.archive} has no folder {self.member}")
        return list(self._contents.folders[self.member])

    def size(self) -> int:
        """See `Source`."""
        return self._entry().size

    def identity(self) -> tuple[object, ...]:
        """See `Source`."""
        return *self.archive.identity(), self.member

    def read(self, start: int, length: int) -> bytes:
        """See `Source`."""
        with self.open() as file:
            file.seek(start)
            return file.read(length)

    def open(self) -> BinaryIO:
        """See `Source`."""
        entry, file = self._entry(), self.archive.open()
        try:
            start = entry.start
            if entry.crc is not None:
                file.seek(start)
                start += header_length(file.read(ZIP_HEADER))
            if not entry.deflated:
                return ranged(part_of(file, start), entry.size, self.name, file.close)
            file.seek(start)
            content = io.BytesIO(inflate(file.read(entry.stored), entry))
        except BaseException:
            file.close()
            raise
        file.close()
        return ranged(part_of(content, 0), entry.size, self.name, content.close)


@lru_cache(maxsize=16)
def _contents(archive: Source, identity: tuple[object, ...]) -> Contents:
    """Read the contents of an archive, anew when it has changed."""
    with archive.open() as file:
        return read_contents(file)
