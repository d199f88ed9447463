"""The cache of video indices: recent ones in the process, all on the machine, costly ones for good.

An index is found by path, size and time of change of its file, or its source's own identity; a
packed video brings one along. Cheap ones are kept where the processes of a machine share them. A
costly one is written to `$KINETOSCOPE_CACHE` instead, or `$XDG_CACHE_HOME/kinetoscope`, or
`~/.cache/kinetoscope`, a few kilobytes per video; the folder may be deleted at any time.
"""

import contextlib
import hashlib
import threading
from collections import OrderedDict
from pathlib import Path

import av

from datamodules.atomic import writing_binary
from datamodules.storage.elsewhere.remote_packs import cache_folder
from datamodules.storage.forks import after_fork
from datamodules.storage.source import Source
from datamodules.video.indices.index import MADE_BY, VERSION, VideoIndex
from datamodules.video.indices.node_store import node_store
from datamodules.video.indices.notes import from_note, to_note

MAX_BYTES = 64 * 2**20
"""Memory that indices may take in one process: some thousand ten-second clips."""

DECODER = f"PyAV {av.__version__}, rules {VERSION}"
"""The decoder and the rules of refusal, which verdicts depend on besides the file."""


class IndexCache:
    """The indices used last, up to a number of bytes.

    Args:
        max_bytes: Memory for their arrays.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._indices: OrderedDict[str, VideoIndex] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return self._bytes

    def get(self, key: str) -> VideoIndex | None:
        """Get the index kept under `key`, if any.

        Args:
            key: See `file_key`.
        """
        with self._lock:
            if key in self._indices:
                self._indices.move_to_end(key)
            return self._indices.get(key)

    def put(self, key: str, index: VideoIndex) -> None:
        """Keep an index, and drop those unused for longest.

        Args:
            key: See `file_key`.
            index: The index.
        """
        with self._lock:
            old = self._indices.pop(key, None)
            self._bytes += index.nbytes - (old.nbytes if old else 0)
            self._indices[key] = index
            while self._bytes > self._max_bytes:
                self._bytes -= self._indices.popitem(last=False)[1].nbytes

    def drop(self, key: str) -> None:
        """Drop the index kept under `key`, if any.

        Args:
            key: See `file_key`.
        """
        with self._lock:
            if (old := self._indices.pop(key, None)) is not None:
                self._bytes -= old.nbytes

    def clear(self) -> None:
        """Drop every index."""
        with self._lock:
            self._indices.clear()
            self._bytes = 0

    def renew_lock(self) -> None:
        """Replace the lock, which after a fork a thread may hold that does not exist here."""
        self._lock = threading.Lock()


recent = IndexCache(MAX_BYTES)
"""The indices of this process."""

after_fork(recent.renew_lock)


def file_key(source: Source) -> str:
    """Name the content of a file as this version of FFmpeg decodes it.

    Args:
        source: An existing file.
    """
    return hashlib.sha256(repr((*MADE_BY, *source.identity())).encode()).hexdigest()[:40]


def cached_index(source: Source) -> VideoIndex | None:
    """Get the index of a file, if it is known.

    Args:
        source: An existing file.
    """
    key = file_key(source)
    if (index := recent.get(key)) is not None:
        return index
    index = _read(_path_of(key)) or from_note(source.note() or node_store().get(key))
    if index is not None:
        recent.put(key, index)
    return index


def remember(source: Source, index: VideoIndex) -> None:
    """Keep the index of a file; a costly one for good, unless its folder cannot be written.

    Costly is a survey, and to read the packets of a file that lies elsewhere.

    Args:
        source: The file it was made of.
        index: The index.
    """
    key = file_key(source)
    recent.put(key, index)
    if index.is_surveyed or source.is_elsewhere:
        with contextlib.suppress(OSError):
            _write(_path_of(key), index)
    elif not source.note():
        node_store().put(key, to_note(index))


def forget(source: Source) -> None:
    """Drop the index of a file, here and on disk.

    Args:
        source: The file.
    """
    key = file_key(source)
    recent.drop(key)
    node_store().drop(key)
    with contextlib.suppress(OSError):
        _path_of(key).unlink(missing_ok=True)


def _path_of(key: str) -> Path:
    return cache_folder() / "index" / key[:2] / f"{key}.note"


def _write(path: Path, index: VideoIndex) -> None:
    """Write a file that appears complete or not at all, also among many processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_binary(path) as file:
        file.write(to_note(index))


def _read(path: Path) -> VideoIndex | None:
    """Read an index from disk; None if there is none that can be read."""
    try:
        return from_note(path.read_bytes())
    except OSError:
        return None
