"""A source: one thing to read from, wherever it lies.

    as_source("videos/a.mp4")                     a file or folder
    as_source("videos.zip!/train/a.mp4")          a member of an archive (zip or tar)
    as_source("packed!/train/a.mp4")              a member of a packed dataset's shards
    as_source("s3://bucket/videos.tar!/a.mp4")    what fsspec opens, here an archive of it

Everything that is asked of a source raises `OSError` where it cannot be told. A `Path` is always a
local file: only a user's own words can be an address.
"""

import io
import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from datamodules.storage.archives import (
    ZIP_HEADER,
    Contents,
    Member,
    header_length,
    inflate,
    read_contents,
)

__all__ = [
    "Address",
    "ArchiveMember",
    "LocalPath",
    "Place",
    "Source",
    "Span",
    "as_source",
    "is_address",
    "ranged",
]

BUFFER = 2**18
"""Bytes that are asked for at a time, where the reader asks for less."""

_PACKED = re.compile(r"(.+?)!/(.*)", re.DOTALL)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MEMBER = re.compile(r"(.+?\.(?:zip|tar))!/(.*)", re.IGNORECASE | re.DOTALL)
# What tells one content of an address from another, by the names that back ends have for it.
_MARKS = (
    *("size", "ETag", "etag", "Content-MD5", "Digest", "Last-Modified", "LastModified"),
    *("last_modified", "mtime", "created", "modified", "updated", "generation", "md5Hash"),
)


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


Place: TypeAlias = str | os.PathLike[str] | Source


def as_source(path: Place) -> Source:
    """Make the source of a path or address.

    Args:
        path: A path, a member of an archive or a packed dataset (`ARCHIVE!/MEMBER`), an address, or
            a source.
    """
    if isinstance(path, Source):
        return path
    if not isinstance(path, str):
        return LocalPath(Path(path))
    if found := _MEMBER.fullmatch(path):
        return ArchiveMember(as_source(found[1]), found[2].strip("/"))
    if found := _PACKED.fullmatch(path):
        from datamodules.storage.packed import open_pack  # it is made of sources

        if (pack := open_pack(Path(found[1]))) is not None:
            return pack / found[2] if found[2] else pack
    return Address(path) if is_address(path) else LocalPath(Path(path))


def is_address(path: str) -> bool:
    """Check that a path is an address, of something elsewhere."""
    return _ADDRESS.match(path) is not None


@dataclass(frozen=True)
class LocalPath(Source):
    """A file or folder of this machine."""

    local: Path

    def __str__(self) -> str:
        return str(self.local)

    def __truediv__(self, name: str) -> "LocalPath":
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
                return ranged(_part_of(file, start), entry.size, self.name, file.close)
            file.seek(start)
            content = io.BytesIO(inflate(file.read(entry.stored), entry))
        except BaseException:
            file.close()
            raise
        file.close()
        return ranged(_part_of(content, 0), entry.size, self.name, content.close)


@lru_cache(maxsize=16)
def _contents(archive: Source, identity: tuple[object, ...]) -> Contents:
    """Read the contents of an archive, anew when it has changed."""
    with archive.open() as file:
        return read_contents(file)


@dataclass(frozen=True)
class Address(Source):
    """A file or folder that fsspec opens: object storage, a web server, memory."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "Address":
        return Address(f"{self.url.rstrip('/')}/{name}")

    @property
    def parent(self) -> "Address | None":
        """See `Source`."""
        protocol, _, rest = self.url.rstrip("/").partition("://")
        above = rest.rpartition("/")[0]
        return Address(f"{protocol}://{above}") if above else None

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, str]]:
        """Give the file system and the path in it; every fault of theirs is an `OSError`."""
        from fsspec.core import url_to_fs  # not before there is an address

        try:
            yield url_to_fs(self.url, use_listings_cache=False)
        except OSError:
            raise
        except Exception as error:  # each back end has faults of its own
            raise OSError(f"{self.url} cannot be read ({error})") from error

    def exists(self) -> bool:
        """See `Source`."""
        with self._opened() as (system, path):
            return bool(system.exists(path))

    def is_file(self) -> bool:
        """See `Source`."""
        with self._opened() as (system, path):
            return bool(system.isfile(path))

    def is_folder(self) -> bool:
        """See `Source`; asked last, as a web server would send a whole file for a list."""
        with self._opened() as (system, path):
            return not system.isfile(path) and bool(system.isdir(path))

    def names(self) -> list[str]:
        """See `Source`."""
        with self._opened() as (system, path):
            found = [str(name).rstrip("/") for name in system.ls(path, detail=False)]
            return [name.rpartition("/")[2] for name in found if name != path.rstrip("/")]

    def size(self) -> int:
        """See `Source`."""
        with self._opened() as (system, path):
            found = system.size(path)
        if found is None:
            raise OSError(f"{self.url} does not tell its size")
        return int(found)

    def identity(self) -> tuple[object, ...]:
        """See `Source`."""
        with self._opened() as (system, path):
            told = system.info(path)
        return self.url, *(str(told[mark]) for mark in _MARKS if mark in told)

    def read(self, start: int, length: int) -> bytes:
        """See `Source`."""
        with self._opened() as (system, path):
            content = bytes(system.cat_file(path, start=start, end=start + length))
        if len(content) > length:
            raise OSError(f"{self.url} is not served in parts; use a copy of it on this machine")
        return content

    def open(self) -> BinaryIO:
        """See `Source`."""
        return ranged(self.read, self.size(), self.name)


def _part_of(file: BinaryIO, begin: int) -> Callable[[int, int], bytes]:
    """Make a function that reads parts of a file, counted from a byte of it."""

    def read(start: int, length: int) -> bytes:
        file.seek(begin + start)
        return file.read(length)

    return read


def ranged(
    read: Callable[[int, int], bytes],
    size: int,
    name: str,
    close: Callable[[], None] = lambda: None,
) -> BinaryIO:
    """Make a file of which parts are read.

    Args:
        read: Gives the part from a byte on, of a length.
        size: Bytes.
        name: Name of the file; its suffix helps libraries to know what it is.
        close: Called once at the end.
    """
    return io.BufferedReader(_Ranges(read, size, name, close), BUFFER)


class _Ranges(io.RawIOBase):
    """A file of which parts are read; see `ranged`."""

    def __init__(
        self, read: Callable[[int, int], bytes], size: int, name: str, close: Callable[[], None]
    ) -> None:
        super().__init__()
        self.name = name
        self._read, self._size, self._close = read, size, close
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"{self.name} has no byte {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        length = min(len(buffer), self._size - self._at)
        content = self._read(self._at, length) if length > 0 else b""
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()
