"""Keeps video indices: recent ones in the process, costly ones on disk.

An index is found by path, size and time of change of its file, or what else its source goes by. One
that cost a survey is also written to `$KINETOSCOPE_CACHE`, or `$XDG_CACHE_HOME/kinetoscope`, or
`~/.cache/kinetoscope`, a few kilobytes per video; the folder may be deleted at any time.
"""

import contextlib
import hashlib
import os
import threading
import zipfile
from collections import OrderedDict
from pathlib import Path

import av
import numpy as np

from datamodules.atomic import writing_binary
from datamodules.storage.source import Source
from datamodules.video.index import VideoIndex

MAX_BYTES = 64 * 2**20
"""Memory that indices may take in one process: some thousand ten-second clips."""

_VERSION = 1  # of the files on disk
_ARRAYS = ("position", "size", "seek_time", "entry", "packet", "timestamps", "checksum")
_SCALARS = ("frame_rate", "height", "width", "skipping")


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
        """The index kept under `key`, if any.

        Args:
            key: See `file_key`.
        """
        with self._lock:
            if key in self._indices:
                self._indices.move_to_end(key)
            return self._indices.get(key)

    def put(self, key: str, index: VideoIndex) -> None:
        """Keeps an index and lets go of those unused for longest.

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

    def clear(self) -> None:
        """Lets go of everything."""
        with self._lock:
            self._indices.clear()
            self._bytes = 0

    def renew_lock(self) -> None:
        """After a fork the lock may be held by a thread that does not exist here."""
        self._lock = threading.Lock()


recent = IndexCache(MAX_BYTES)
"""The indices of this process."""

os.register_at_fork(after_in_child=recent.renew_lock)


def file_key(source: Source) -> str:
    """A name for the content of a file as this version of FFmpeg decodes it.

    Args:
        source: An existing file.
    """
    libraries = av.library_versions["libavcodec"], av.library_versions["libavformat"]
    name = (_VERSION, libraries, *source.identity())
    return hashlib.sha256(repr(name).encode()).hexdigest()[:40]


def cache_folder() -> Path:
    """The folder of indices that cost a survey."""
    if folder := os.environ.get("KINETOSCOPE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kinetoscope"


def cached_index(source: Source) -> VideoIndex | None:
    """The index of a file, if it is known.

    Args:
        source: An existing file.
    """
    key = file_key(source)
    index = recent.get(key)
    if index is None and (index := _read(_place(key))) is not None:
        recent.put(key, index)
    return index


def remember(source: Source, index: VideoIndex) -> None:
    """Keeps the index of a file; a survey also on disk, unless its folder cannot be written.

    Args:
        source: The file it was made of.
        index: The index.
    """
    key = file_key(source)
    recent.put(key, index)
    if index.is_surveyed:
        with contextlib.suppress(OSError):
            _write(_place(key), index)


def _place(key: str) -> Path:
    return cache_folder() / "index" / key[:2] / f"{key}.npz"


def _write(place: Path, index: VideoIndex) -> None:
    """Writes a file that appears complete or not at all, also among many processes."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with writing_binary(place) as file:
        np.savez(file, **{name: getattr(index, name) for name in _ARRAYS + _SCALARS})


def _read(place: Path) -> VideoIndex | None:
    """An index from disk; None if there is none that can be read."""
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _ARRAYS}
            scalars = {name: stored[name].item() for name in _SCALARS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return VideoIndex(**arrays, **scalars)
