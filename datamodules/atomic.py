"""Files that appear whole or not at all, and lines that many processes append to one file.

Everything that is written here and read again later goes through this module, so that a process
that is killed, a disk that is full and a second writer harm nothing that was there before.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, TextIO

__all__ = [
    "append_line",
    "check_room",
    "locked",
    "owned_by_this_process",
    "path_beside",
    "write_atomically",
    "writing_binary",
    "writing_text",
]

_HAS_LOCKS = find_spec("fcntl") is not None  # not on Windows
if _HAS_LOCKS:
    import fcntl

_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
"""Errors of file systems without locks: some of NFS, FUSE, Lustre."""

_BLOCK = 1 << 16
"""Bytes that show whether a disk has room: an empty file fits on a full one, too."""

_AS_BYTES = getattr(os, "O_BINARY", 0)
"""The flag that keeps Windows from changing the ends of lines."""


@contextmanager
def path_beside(
    target: Path, *, lone: bool = False, keep: Path | None = None, flush_folder: bool = False
) -> Iterator[Path]:
    """Offer a new file to be filled, which replaces the target once it is whole and on the disk.

    It lies beside the target, hidden, with the suffix `.tmp`. Whatever is raised within, it is
    removed, and what the target was before stays.

    Args:
        target: The file to write.
        lone: True if no other process writes this target: then a process that is killed leaves one
            file behind, which the next write takes over, however often it happens.
        keep: Path that the target's former content is kept at, if it had any.
        flush_folder: Flush the new name, too, to the disk at the end.

    Yields:
        The path of the file to fill.
    """
    own = "" if lone else f".{uuid.uuid4().hex[:12]}"
    part = target.with_name(f".{target.name}{own}.tmp")
    try:
        yield part
        _flush(part, os.O_RDWR)
        if keep is not None and target.exists():
            os.replace(target, keep)
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):  # the first error tells more
            part.unlink(missing_ok=True)
        raise
    if flush_folder and hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        _flush(target.parent, os.O_RDONLY)


@contextmanager
def writing_binary(
    target: Path, *, lone: bool = False, keep: Path | None = None, flush_folder: bool = False
) -> Iterator[BinaryIO]:
    """Open a binary file that becomes the target at the end; see `path_beside`."""
    beside = path_beside(target, lone=lone, keep=keep, flush_folder=flush_folder)
    with beside as part, part.open("wb") as file:
        yield file


@contextmanager
def writing_text(
    target: Path, *, lone: bool = False, errors: str = "strict", newline: str | None = None
) -> Iterator[TextIO]:
    """Open a UTF-8 text file that becomes the target at the end; see `path_beside`.

    Args:
        target: The file to write.
        lone: See `path_beside`.
        errors: Treatment of characters that UTF-8 has no bytes for; see `open`.
        newline: See `open`; empty for what the `csv` module writes.
    """
    beside = path_beside(target, lone=lone)
    with beside as part, part.open("w", encoding="utf-8", errors=errors, newline=newline) as file:
        yield file


def write_atomically(target: Path, content: str | bytes, *, lone: bool = False) -> None:
    """Write a file; text in UTF-8.

    Args:
        target: The file to write.
        content: All of it.
        lone: See `path_beside`.
    """
    with writing_binary(target, lone=lone) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def check_room(folder: Path, needed: int = 0) -> None:
    """Check that a folder takes files, before the work that is to be written there; make it.

    Args:
        folder: The folder.
        needed: Size of the files, in bytes.

    Raises:
        OSError: If nothing can be written there, or not that much.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as file:
        file.write(bytes(_BLOCK))
    free = shutil.disk_usage(folder).free
    if free < needed:
        missing = f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {missing}")


def append_line(path: Path, line: bytes) -> None:
    """Append a line that no other process's line runs into, also on network disks.

    A system, or file system, that knows no locks gets the line in a single write at the end of the
    file, which local disks do not divide. After half a line of a process that died a new one is
    begun.

    Args:
        path: The file; made where it does not exist.
        line: Without the line's end.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _AS_BYTES, 0o666)
    try:
        _lock(handle, wait=True)
        end = os.lseek(handle, 0, os.SEEK_END)
        is_cut = False
        if end:
            os.lseek(handle, -1, os.SEEK_END)
            is_cut = os.read(handle, 1) != b"\n"
        left = (b"\n" if is_cut else b"") + line + b"\n"
        while left:  # once, unless the disk is full, which the second time tells
            left = left[os.write(handle, left) :]
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock file, which the system lets go of however the process ends.

    Args:
        path: The file; made where it does not exist, emptied where it does.
        wait: Wait for another process that holds it.

    Yields:
        True if it is held; False where another process holds it, or the system or file system
        knows no locks.
    """
    with path.open("w") as file:
        yield _lock(file.fileno(), wait=wait)


def owned_by_this_process(handle: int) -> bool | None:
    """Lock an open file for this process, not for those that it forks, until it closes the file.

    Args:
        handle: The file; if this process opens it once more and closes that, the lock is gone too.

    Returns:
        True if it is locked, False where another process holds it, None where the system or file
        system knows no locks.
    """
    if not _HAS_LOCKS:
        return None
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _lock(handle: int, *, wait: bool) -> bool:
    if not _HAS_LOCKS:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
