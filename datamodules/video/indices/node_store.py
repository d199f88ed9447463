"""Notes of all videos that processes of this machine have indexed, shared by them in one file.

Loader processes see different videos in each epoch, and a large dataset's indices do not fit into
the memory of each. With this store a video is indexed once on a machine, not once by every process,
and no second time for having been forgotten.
"""

import os
import shutil
import sqlite3
import threading
from functools import cache
from pathlib import Path

from datamodules.storage.elsewhere.node_cache import (
    FOLDER_VARIABLE,
    SIZE_VARIABLE,
    make_private_folder,
    node_settings,
)
from datamodules.storage.forks import around_fork
from datamodules.storage.transient import tell

__all__ = ["NodeStore", "node_store"]

MAX_STORE_BYTES = 2 * 10**9
"""Size of the store: about a million ten-second clips."""

_PATIENCE = 1.0
"""Seconds to wait for another process that writes."""
_IS_FULL = (
    "SELECT (page_count - freelist_count) * page_size >= ? "
    "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
_MAKE_ROOM = (
    "DELETE FROM notes WHERE rowid IN "
    "(SELECT rowid FROM notes ORDER BY rowid LIMIT (SELECT 1 + count(*) / 10 FROM notes))"
)


class NodeStore:
    """A file of notes by key, for any number of processes and threads.

    It spares time and nothing else: what cannot be read is not there, what cannot be written is not
    kept. A disk that is full or cannot be written is told of once.

    Args:
        folder: Folder of the file; made when the first note is kept.
        max_bytes: Size of the file; 0 for no store.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.path = folder / "indices.sqlite"
        self._max_bytes = max_bytes
        self._is_off = max_bytes == 0
        self._database: sqlite3.Connection | None = None
        self._lock = threading.RLock()  # a handler of a signal may fork
        around_fork(self._prepare_fork, lambda: self._lock.release(), self._renew)

    def get(self, key: str) -> bytes:
        """Get a note, empty where there is none.

        Args:
            key: Its key.
        """
        found = self._ask("SELECT CAST(note AS BLOB) FROM notes WHERE key = ?", key)
        own = key.encode()  # a broken file may answer with another video's
        return found[len(own) :] if isinstance(found, bytes) and found.startswith(own) else b""

    def put(self, key: str, note: bytes) -> None:
        """Keep a note; where the store is full, the tenth goes that was kept first.

        Args:
            key: Its key.
            note: The note.
        """
        if self._ask(_IS_FULL, self._max_bytes):
            self._ask(_MAKE_ROOM)
        self._ask("INSERT OR REPLACE INTO notes VALUES (?, ?)", key, key.encode() + note)

    def drop(self, key: str) -> None:
        """Drop a note, if it is there.

        Args:
            key: Its key.
        """
        self._ask("DELETE FROM notes WHERE key = ?", key)

    def _ask(self, words: str, *values: object) -> object:
        """Do one thing, and give the first value of its answer."""
        with self._lock:
            if self._is_off:
                return None
            try:
                return self._answer(words, values)
            except sqlite3.ProgrammingError:  # a handler of a signal forked, which closes the file
                return None
            except sqlite3.Error as error:
                # its kind without details; Python's own errors, of a broken file, have none
                kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
                if kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    self._begin_anew()
                elif kind != sqlite3.SQLITE_BUSY:  # another process writes for long
                    self._turn_off(str(error))
            except OSError as error:
                self._turn_off(error.strerror or str(error))
        return None

    def _answer(self, words: str, values: tuple[object, ...]) -> object:
        if self._database is None:
            self._database = self._open()
        row = self._database.execute(words, values).fetchone()
        return row[0] if row else None

    def _open(self) -> sqlite3.Connection:
        for folder in (self.path.parent.parent, self.path.parent):
            make_private_folder(folder)
        database = sqlite3.connect(
            self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            for setting in ("page_size = 16384", "journal_mode = WAL", "synchronous = OFF"):
                database.execute(f"PRAGMA {setting}")
            database.execute("CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, note BLOB)")
        except BaseException:
            database.close()
            raise
        return database

    def _begin_anew(self) -> None:
        """Remove a file that is broken, as after a crash of the machine; the next is another."""
        self._close()
        try:
            for path in self.path.parent.glob(f"{self.path.name}*"):
                path.unlink(missing_ok=True)
        except OSError as error:
            self._turn_off(error.strerror or str(error))

    def _turn_off(self, reason: str) -> None:
        self._is_off = True
        self._close()
        tell(
            f"{self.path} takes no indices of videos ({reason}), which each process makes anew "
            f"from now on; make room, set {FOLDER_VARIABLE} to another folder, or {SIZE_VARIABLE}=0"
        )

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _prepare_fork(self) -> None:
        """Close the file: SQLite gives a forked process no locks of its own on one that is open."""
        self._lock.acquire()
        self._close()

    def _renew(self) -> None:
        """Let a forked process open the file for itself."""
        self._lock = threading.RLock()


def node_store() -> NodeStore:
    """Return the store that the environment asks for.

    Raises:
        UserError: If it asks for what is no size.
    """
    try:
        folder, max_bytes = node_settings()
    except OSError:  # there is no folder for temporary files
        return _store(Path(os.devnull), 0)
    return _store(folder / "indices", max_bytes)


@cache
def _store(folder: Path, max_bytes: int | None) -> NodeStore:
    if max_bytes is None:
        try:
            above = next(path for path in (folder, *folder.parents) if path.exists())
            max_bytes = shutil.disk_usage(above).free // 10
        except OSError:  # it may not be entered, as is told when it is used
            max_bytes = MAX_STORE_BYTES
    return NodeStore(folder, min(max_bytes, MAX_STORE_BYTES))
