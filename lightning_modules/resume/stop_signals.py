"""Signals that ask a run to stop: handlers that only take note, whatever the moment."""

import atexit
import multiprocessing.util
import os
import signal
import threading
from types import FrameType, TracebackType

STOPPED = 75
"""Exit code of a run that a signal stopped: saved, and to be started again to go on."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""

_STOP: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)
)
_HAS_MASKS = hasattr(signal, "pthread_sigmask")
"""Windows has neither masks nor SIGUSR1; nor Slurm, which would send it."""


class StopSignals:
    """Record of SIGTERM, SIGUSR1 and Ctrl-C, as long as its `with` block lasts.

    SIGTERM is what Slurm and other schedulers send before they take a machine away, SIGUSR1 what a
    batch script asks Slurm for ahead of the time limit. A handler runs between any two bytecodes,
    so it saves nothing: the training looks at `code` where it is safe to.

    Slurm sends these two to every process of a job, so also to loader workers and to W&B's service,
    which would die of them and take the training along. They are therefore blocked in this thread,
    from which all of those are started and which they inherit it from; a thread that does nothing
    else receives them for this process.

    Ctrl-C stops at once, as ever, except where training has said that it will look (`deferring`):
    there the first one is noted and the second stops at once. While a checkpoint is written
    (`holding`) nothing stops it but SIGKILL.
    """

    def __init__(self) -> None:
        self.code = 0
        self.deferring = False
        self.holding = False
        self._process = os.getpid()
        self._before: dict[signal.Signals, signal._HANDLER] = {}
        self._restored = threading.Event()

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in _STOP:
                self._before[number] = signal.signal(number, self._stop)
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
            if _HAS_MASKS:
                threading.Thread(target=self._receive, name="stop signals", daemon=True).start()
                signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
            atexit.unregister(_end_workers)
            atexit.register(_end_workers)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()

    def came(self) -> bool:
        """Return True once a signal has asked the run to stop."""
        return bool(self.code)

    def restore(self) -> None:
        """Put back the handlers that were there before."""
        if not self._before:
            return
        self._restored.set()
        if _HAS_MASKS:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _receive(self) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        self._restored.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self.code:
            _write(f"got {signal.Signals(number).name}: stopping after this step")
        self.code = STOPPED

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a loader worker: this process decides
            return
        if self.holding:
            _write("saving the checkpoint; it takes a moment")
        elif self.deferring and not self.code:
            self.code = INTERRUPTED
            _write("stopping after this step; Ctrl-C again stops at once, without saving")
        else:
            raise KeyboardInterrupt


def _end_workers() -> None:
    """Kill workers that hang at the end of this process, which would wait for them for ever.

    It runs before the end of `multiprocessing`, whose SIGTERM they do not hear.
    """
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in multiprocessing.active_children():
        worker.kill()


def _write(text: str) -> None:
    """Write a line from within a handler, where the buffered streams may be in use."""
    os.write(2, f"\nkinetoscope: {text}\n".encode())
