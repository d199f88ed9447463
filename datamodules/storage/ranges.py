"""Files of which parts are read."""

import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO

__all__ = ["part_of", "ranged"]

BUFFER = 2**18
"""Bytes that are asked for at least, where nothing else is said."""


def part_of(file: BinaryIO, begin: int) -> Callable[[int, int], bytes]:
    """Make a function that reads parts of a file, counted from a byte of it.

    Args:
        file: The file.
        begin: The byte.
    """

    def read(start: int, length: int) -> bytes:
        file.seek(begin + start)
        return file.read(length)

    return read


def ranged(
    read: Callable[[int, int], bytes],
    size: int,
    name: str,
    close: Callable[[], None] = lambda: None,
    buffer: int = BUFFER,
) -> BinaryIO:
    """Make a file of which parts are read.

    Args:
        read: Gives the part from a byte on, of a length.
        size: Bytes.
        name: Name of the file; its suffix helps libraries to know what it is.
        close: Called once at the end.
        buffer: Bytes that are asked for at least.
    """
    return io.BufferedReader(_Ranges(read, size, name, close), buffer)


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
