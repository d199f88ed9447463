"""Files and folders elsewhere, which fsspec opens: object storage, web servers."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from datamodules.storage.base import Source
from datamodules.storage.ranges import ranged

__all__ = ["Address", "is_address"]

PATIENCE = 30.0
"""Seconds that reading a part of a file may take."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# What tells one content of an address from another, by the names that back ends have for it.
_MARKS = (
    *("size", "ETag", "etag", "Content-MD5", "Digest", "Last-Modified", "LastModified"),
    *("last_modified", "mtime", "created", "modified", "updated", "generation", "md5Hash"),
)


def is_address(path: str) -> bool:
    """Check that a path is an address, of something elsewhere."""
    return _ADDRESS.match(path) is not None


@dataclass(frozen=True)
class Address(Source):
    """A file or folder that fsspec opens: object storage, a web server, memory."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "Address":
        return Address(f"{self.url.rstrip('/')}/{name}")

    @property
    def is_elsewhere(self) -> bool:
        """See `Source`."""
        return True

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
            content = _read_in_time(system, path, start, start + length)
        if len(content) > length:
            raise OSError(f"{self.url} is not served in parts; use a copy of it on this machine")
        return content

    def open(self) -> BinaryIO:
        """See `Source`."""
        return ranged(self.read, self.size(), self.name)


def _read_in_time(system: Any, path: str, start: int, end: int) -> bytes:
    """Read a part of a file, within a time where the file system can be stopped."""
    from fsspec.asyn import AsyncFileSystem, sync

    if not isinstance(system, AsyncFileSystem):
        return bytes(system.cat_file(path, start=start, end=end))
    try:
        read = system._cat_file
        return bytes(sync(system.loop, read, path, start=start, end=end, timeout=PATIENCE))
    except TimeoutError as error:
        raise OSError(errno.ETIMEDOUT, f"no answer in {PATIENCE:g} s") from error
