"""Files and folders elsewhere, which fsspec opens: object storage, web servers."""

import errno
import re
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO

from datamodules.storage.base import Source
from datamodules.storage.forks import after_fork
from datamodules.storage.ranges import ranged

__all__ = ["Address", "is_address"]

PATIENCE = 30.0
"""Seconds that an answer may take."""

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

    def _ask(self, question: str, **more: Any) -> Any:
        """Ask the file system that the address belongs to; every fault is an `OSError`.

        Args:
            question: Name of a method of `fsspec.AbstractFileSystem` that takes a path.
            more: Further arguments.
        """
        from fsspec.asyn import AsyncFileSystem, sync
        from fsspec.core import url_to_fs  # neither before there is an address

        try:
            system, path = url_to_fs(self.url, use_listings_cache=False)
            if not isinstance(system, AsyncFileSystem):
                return getattr(system, question)(path, **more)
            asked = getattr(system, f"_{question}")
            return sync(system.loop, asked, path, timeout=PATIENCE, **more)
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, f"no answer in {PATIENCE:g} s") from error
        except OSError:
            raise
        except Exception as error:  # each back end has faults of its own
            raise OSError(f"{self.url} cannot be read ({error})") from error

    def exists(self) -> bool:
        """See `Source`."""
        return bool(self._ask("exists"))

    def is_file(self) -> bool:
        """See `Source`."""
        return bool(self._ask("isfile"))

    def is_folder(self) -> bool:
        """See `Source`; asked last, as a web server would send a whole file for a list."""
        return not self._ask("isfile") and bool(self._ask("isdir"))

    def names(self) -> list[str]:
        """See `Source`."""
        own = self.url.rstrip("/").rpartition("://")[2]
        found = [str(name).rstrip("/") for name in self._ask("ls", detail=False)]
        return [name.rpartition("/")[2] for name in found if name.rpartition("://")[2] != own]

    def size(self) -> int:
        """See `Source`."""
        found = self._ask("size")
        if found is None:
            raise OSError(f"{self.url} does not tell its size")
        return int(found)

    def identity(self) -> tuple[object, ...]:
        """See `Source`."""
        told = self._ask("info")
        return self.url, *(str(told[mark]) for mark in _MARKS if mark in told)

    def read(self, start: int, length: int) -> bytes:
        """See `Source`."""
        content = bytes(self._ask("cat_file", start=start, end=start + length))
        if len(content) > length:
            raise OSError(f"{self.url} is not served in parts; use a copy of it on this machine")
        return content

    def open(self) -> BinaryIO:
        """See `Source`."""
        return ranged(self.read, self.size(), self.name)


_parents: list[object] = []  # file systems of the process that this one was forked off


def _keep_parents() -> None:
    """Keep the connections of the parent from being closed here.

    That would take them out of what the parent waits for, as both share it (epoll).
    """
    if "fsspec.spec" in sys.modules:
        from fsspec.spec import AbstractFileSystem

        kinds = [AbstractFileSystem]
        while kinds:
            kind = kinds.pop()
            kinds += kind.__subclasses__()
            _parents.extend(kind._cache.values())


after_fork(_keep_parents)
