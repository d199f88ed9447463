"""RunLock: one fit at a time in a run folder, and who it is.

The system's lock tells at once, and is let go of however a process ends. Some network disks know
none, or one for each machine alone; there the file itself tells: its holder touches it every few
seconds, and one that stays untouched is left over.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from datamodules.atomic import owned_by_this_process
from datamodules.errors import UserError, as_storage_error
from lightning_modules.console import say
from lightning_modules.runs.folder import GO_ON

FILE_NAME = "run.lock"
"""Name of the lock in a run folder; empty while nothing runs there."""

_BEAT_SECONDS = 5.0
_WATCH_SECONDS = 20.0
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Holder:
    """The process that runs in a folder.

    Attributes:
        host: Its machine.
        pid: Its number there.
        since: When it began, UTC.
        job: Its Slurm job; empty outside of Slurm.
        restarts: How often Slurm had started that job again.
    """

    host: str
    pid: int
    since: str
    job: str = ""
    restarts: int = 0

    @classmethod
    def this_process(cls) -> "Holder":
        """Describe this process."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        job, restarts = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_RESTART_COUNT")
        return cls(socket.gethostname(), os.getpid(), now, job, int(restarts or 0))

    def __str__(self) -> str:
        job = f", Slurm job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}, since {self.since}"

    def is_over(self, own: "Holder") -> bool:
        """Return True if it has certainly ended, as this process sees it."""
        if self.job and self.job == own.job and self.restarts < own.restarts:
            return True
        return self.host == own.host and (self.pid == own.pid or not _is_process(self.pid))


class RunLock:
    """The lock of a run folder, held by the first rank until `close`."""

    def __init__(self) -> None:
        self._held: tuple[Path, int] | None = None
        self._released = threading.Event()

    def close(self) -> None:
        """Let go of the folder, if one is held."""
        self._released.set()
        if self._held is not None:
            handle = self._held[1]
            with suppress(OSError):  # a disk that fails here leaves a lock that nobody touches
                os.ftruncate(handle, 0)
            os.close(handle)
        self._held = None

    @rank_zero_only
    def take(self, folder: Path) -> None:
        """Take the lock of a folder, on the first rank; nothing to do where it is held already.

        Raises:
            UserError: If another process runs there.
            StorageError: If the lock cannot be written.
        """
        path = folder / FILE_NAME
        if self._held is not None or os.environ.get("NODE_RANK", "0") != "0":
            return
        own, holder = Holder.this_process(), _read(path)
        elsewhere = holder is not None and holder.host != own.host
        if holder is not None and elsewhere and not holder.is_over(own) and _is_touched(path):
            raise _taken(folder, holder)
        with as_storage_error(path, GO_ON):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._claim(handle, path, own, None if elsewhere else holder)
            except BaseException:
                os.close(handle)
                raise
        self._held = path, handle
        threading.Thread(target=self._touch, args=(path,), name="run lock", daemon=True).start()

    def _claim(self, handle: int, path: Path, own: Holder, before: Holder | None) -> None:
        """Write our name where no other process runs; `before` is one of this machine."""
        owned = owned_by_this_process(handle)
        if owned is False:
            raise _taken(path.parent, _read(path))
        if owned is None and before is not None and not before.is_over(own) and _is_touched(path):
            raise _taken(path.parent, before)
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(asdict(own)).encode())
        os.fsync(handle)
        if owned is None:  # of two that came here together the last one to write has it
            time.sleep(_SETTLE_SECONDS)
            winner = _read(path)
            if winner != own:
                raise _taken(path.parent, winner)

    def _touch(self, path: Path) -> None:
        while not self._released.wait(_BEAT_SECONDS):
            with suppress(OSError):
                os.utime(path)


def is_in_use(folder: Path) -> bool:
    """Return True if another process runs in a folder, as far as its lock tells at once."""
    path = folder / FILE_NAME
    holder = _read(path)
    if holder is None or holder.is_over(Holder.this_process()):
        return False
    return time.time() - _changed(path) / 1e9 < _WATCH_SECONDS


def _read(path: Path) -> Holder | None:
    """Read who holds a lock; None where nobody does, or it cannot be told."""
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _is_touched(path: Path) -> bool:
    """Watch a lock until its holder touches it, or long enough to know that none does."""
    say(f"looking for {_WATCH_SECONDS:.0f} s whether {path} still has its holder")
    end, first = time.monotonic() + _WATCH_SECONDS, _changed(path)
    while time.monotonic() < end:
        time.sleep(min(0.5, _WATCH_SECONDS / 10))
        if _changed(path) != first:
            return True
    return False


def _changed(path: Path) -> int:
    """Get the time of a file's last change; a network disk tells the newest to who opens it."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _taken(folder: Path, holder: Holder | None) -> UserError:
    return UserError(
        f"{folder} is in use by {holder or 'another process'}; wait for its end or stop it, or "
        "choose another --run.name or --run.version"
    )
