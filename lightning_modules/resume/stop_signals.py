"""Signals that ask a run to stop: handlers that only take note, whatever the moment.

It is loaded before anything else of a fit, so it imports nothing that takes time.
"""

import atexit
import multiprocessing.util
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

from lightning_modules.resume import slurm

STOPPED = 75
"""Exit code of a run that a signal stopped: saved, and to be started again to go on."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""

_STOP: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)
)
_HAS_MASKS = hasattr(signal, "pthread_sigmask")
"""Windows has neither masks nor SIGUSR1; nor Slurm, which would send it."""

_SECONDS_BEHIND = 2
"""Within which a signal comes here, too, that has ended another process of the job."""

_SECONDS_BESIDE = 0.2
"""Within which it comes here where it is raised in this process that another has ended."""

_SECONDS_FOR_THE_FIRST = 20
"""Within which the first task of a job has it requeued, which ends all the others."""


class StopSignals:
    """Record of SIGTERM, SIGUSR1 and Ctrl-C, as long as its `with` block lasts.

    SIGTERM is what Slurm and other schedulers send before they take a machine away, SIGUSR1 what a
    batch script asks Slurm for ahead of the time limit. A handler runs between any two bytecodes,
    so it saves nothing: the training looks at `code` where it is safe to.

    Until there is something to save (`starting`: imports, data, W&B, the way to the first batch) a
    fit does not go on to a place where it would look: it is requeued under Slurm and left at once.

    Slurm sends these two to every process of a job, so also to loader workers and to W&B's service,
    which would die of them and take the training along. They are therefore blocked in this thread,
    from which all of those are started and which they inherit it from; a thread that does nothing
    else receives them for this process.

    Ctrl-C stops at once, as ever (while `starting` without an exception, which an import that it
    breaks off may swallow), except where training has said that it will look (`deferring`):
    there the first one is noted and the second stops at once. While a checkpoint is written
    (`holding`) nothing stops it but SIGKILL.

    Args:
        starting: True if nothing is to be saved yet; set to False once there is.

    Attributes:
        at_leaving: Functions that end other processes of a fit which has not begun.
    """

    def __init__(self, starting: bool = False) -> None:
        self.code = 0
        self.starting = starting
        self.at_leaving: list[Callable[[], object]] = []
        self.deferring = False
        self.holding = False
        self._process = os.getpid()
        self._before: dict[signal.Signals, signal._HANDLER] = {}
        self._came = threading.Event()
        self._restored = threading.Event()
        self._receiver = threading.Thread(target=self._receive, name="stop signals", daemon=True)
        self._leaver = threading.Thread(target=self._leave, name="leaving", daemon=True)

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in _STOP:
                self._before[number] = signal.signal(number, self._stop)
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
            if _HAS_MASKS:
                signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
                self._receiver.start()
            atexit.unregister(_end_workers)
            atexit.register(_end_workers)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self.starting:  # perhaps of another process that has died of it
            self._came.wait(_SECONDS_BESIDE)
        if self._leaver.is_alive():
            self._leaver.join()
        self.restore()

    def came(self) -> bool:
        """Return True if a signal has asked the run to stop, or does so in a moment."""
        return self._came.wait(_SECONDS_BEHIND)

    def restore(self) -> None:
        """Put back the handlers that were there before."""
        if not self._before:
            return
        self._restored.set()
        if _HAS_MASKS:
            assert self._receiver.ident is not None
            signal.pthread_kill(self._receiver.ident, _STOP[0])
            self._receiver.join()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _receive(self) -> None:
        """Wait for signals, whatever the main thread does: it may wait for another process."""
        while True:
            number = signal.sigwait(_STOP)
            if self._restored.is_set():
                return
            self._stop(number)

    def _stop(self, number: int, frame: FrameType | None = None) -> None:
        is_first, self.code = not self.code, STOPPED
        if is_first:
            what = "leaving, as nothing has begun" if self.starting else "stopping after this step"
            _write(f"got {signal.Signals(number).name}: {what}")
            if self.starting:
                self._leaver.start()
        self._came.set()

    def _leave(self) -> None:
        """Have the job requeued, and end this process and its own: nothing is lost."""
        job, is_child = slurm.job_id(), _is_child_of_another_rank()
        if is_child and self.code == STOPPED:
            os.kill(os.getppid(), signal.SIGTERM)
        elif job is not None and self.code == STOPPED:
            if not slurm.is_first_task():
                time.sleep(_SECONDS_FOR_THE_FIRST)
            _write(slurm.requeue(job))
        for end in self.at_leaving:
            end()
        for worker in multiprocessing.active_children():
            worker.kill()
        os._exit(0 if is_child else self.code)  # of a child's code Lightning would kill the first

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a loader worker: this process decides
            return
        if self.starting and not self.code:
            self.code = INTERRUPTED
            _write("stopped, as nothing has begun")
            self._leaver.start()
        elif self.holding:
            _write("saving the checkpoint; it takes a moment")
        elif self.deferring and not self.code:
            self.code = INTERRUPTED
            _write("stopping after this step; Ctrl-C again stops at once, without saving")
        else:
            raise KeyboardInterrupt


def _is_child_of_another_rank() -> bool:
    """Return True if Lightning started this rank, and neither Slurm nor torchrun."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and "RANK" not in os.environ


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
