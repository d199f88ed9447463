"""Blocks of files elsewhere, kept on a disk of this machine for all of its processes.

Each file is a sparse file of the same layout. Nothing says which blocks are there: whoever reads
one holds it against the checksum that it must have, so that a hole, a block half written as a
machine went down, and one that another process removed are all the same: not there.
"""

import os
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from pathlib import Path

from datamodules.errors import UserError
from datamodules.storage.transient import tell

__all__ = [
    "BLOCK",
    "FOLDER_VARIABLE",
    "SIZE_VARIABLE",
    "NodeCache",
    "make_private_folder",
    "node_cache",
    "node_settings",
]

BLOCK = 2**12
"""Bytes of a block."""

FOLDER_VARIABLE, SIZE_VARIABLE = "KINETOSCOPE_NODE_CACHE", "KINETOSCOPE_NODE_CACHE_GB"
MOST_BYTES = 100 * 10**9
"""Bytes that are kept at most, where nothing is said and the disk has twice as much to spare."""

_OPEN_FILES = 64
_TOUCH_SECONDS = 60.0


class NodeCache:
    """A folder of blocks, bounded, that processes share without knowing of each other.

    For any number of threads, one at a time: another must not close the file that one writes.

    Files that were used least lately are removed, each as a whole. Where the disk is full or cannot
    be written nothing is kept, which is said once.

    Args:
        folder: The folder; made when the first block is kept.
        max_bytes: Bytes that are kept, and at most a tenth more; 0 for none. By default half of
            what the disk has to spare, at most `MOST_BYTES`.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._is_off = max_bytes == 0 or not hasattr(os, "pread")  # as on Windows
        self._lock = threading.Lock()
        self._room = 0  # bytes to write before it is looked again at how much is kept
        self._open: OrderedDict[str, tuple[int, float]] = OrderedDict()  # handle, when touched

    def read(self, name: str, first: int, count: int) -> bytes:
        """Read what may be blocks of a file.

        Args:
            name: Name of the file.
            first: Number of the first block.
            count: How many.

        Returns:
            Their bytes, or fewer, which may be any; empty where the file is not kept.
        """
        if self._is_off:
            return b""
        with self._lock:
            try:
                return os.pread(self._handle(name, os.O_RDWR), count * BLOCK, first * BLOCK)
            except OSError:
                return b""

    def write(self, name: str, first: int, content: bytes) -> None:
        """Keep blocks.

        Args:
            name: Name of the file.
            first: Number of the first one.
            content: Their bytes, one behind the other.
        """
        with self._lock:
            if self._is_off:
                return
            try:
                self._write(name, first, content)
            except OSError as error:
                self._is_off = True
                tell(
                    f"{self.folder} takes no more blocks of files elsewhere ({error.strerror}), "
                    f"which are read anew each time from now on; make room, set {FOLDER_VARIABLE} "
                    f"to another folder, or {SIZE_VARIABLE} to fewer gigabytes"
                )

    def _write(self, name: str, first: int, content: bytes) -> None:
        if self._room < len(content):
            self._make_room()
        handle = self._handle(name, os.O_RDWR | os.O_CREAT)
        if not os.fstat(handle).st_nlink:  # another process removed it
            self._close(name)
            handle = self._handle(name, os.O_RDWR | os.O_CREAT)
        os.pwrite(handle, content, first * BLOCK)
        self._room -= len(content)

    def close(self) -> None:
        """Close all files."""
        for name in list(self._open):
            self._close(name)

    def _handle(self, name: str, flags: int) -> int:
        """Open a file once, and mark it as used now and then."""
        handle, touched = self._open.get(name, (-1, 0.0))
        if handle < 0:
            handle = os.open(self.folder / name, flags, 0o600)
            if len(self._open) >= _OPEN_FILES:
                self._close(next(iter(self._open)))
        now = time.monotonic()
        if now - touched > _TOUCH_SECONDS:
            touched = now
            os.utime(handle)
        self._open[name] = handle, touched
        self._open.move_to_end(name)
        return handle

    def _close(self, name: str) -> None:
        os.close(self._open.pop(name)[0])

    def _make_room(self) -> None:
        """Remove the files that were used least lately, until those that are kept fit."""
        make_private_folder(self.folder)
        kept = sorted(_files(self.folder))
        total = sum(size for _, size, _ in kept)
        if self._max_bytes is None:
            spare = total + shutil.disk_usage(self.folder).free
            self._max_bytes = min(MOST_BYTES, spare // 2)
        for _, size, path in kept:
            if total <= self._max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._room = max(self._max_bytes // 10, BLOCK)


def make_private_folder(folder: Path) -> None:
    """Make a folder that only this user may look into, unless it is there.

    Args:
        folder: The folder.

    Raises:
        PermissionError: It belongs to another user, who could put anything there.
        OSError: It cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise PermissionError(1, "it belongs to another user")


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """List when each file was used last, the bytes that it takes, and its path."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                state = entry.stat()
            except FileNotFoundError:  # another process removed it
                continue
            if entry.is_dir():  # of the indices
                continue
            found.append((state.st_mtime, state.st_blocks * 512, Path(entry.path)))
    return found


def node_cache() -> NodeCache:
    """Make the cache that the environment asks for.

    Raises:
        UserError: If it asks for what is no size.
    """
    return NodeCache(*node_settings())


def node_settings() -> tuple[Path, int | None]:
    """Read from the environment where, and how many bytes, may be kept on this machine.

    Returns:
        The folder, and the bytes; None where nothing is said of them.

    Raises:
        UserError: If it asks for what is no size.
    """
    user = os.getuid() if hasattr(os, "getuid") else "user"
    default = Path(tempfile.gettempdir()) / f"kinetoscope-{user}"
    folder = Path(os.environ.get(FOLDER_VARIABLE) or default)
    size = os.environ.get(SIZE_VARIABLE)
    try:
        max_bytes = round(float(size) * 1e9) if size else None
    except ValueError:
        max_bytes = -1
    if max_bytes is not None and max_bytes < 0:
        raise UserError(f"{SIZE_VARIABLE}={size} is no size; give gigabytes, 0 for no cache")
    return folder, max_bytes
