"""One item after another in processes that may die or hang.

    with closing(run_jobs(work, items, num_workers=4, time_limit=60)) as jobs:
        for news in jobs:
            match news:
                case Advanced(item, step): ...  # what `work(item)` yielded
                case Done(item, result): ...    # what it returned
                case Lost(item, reason): ...    # its process died, or it took too long

What is wrong with an item is for `work` to return; what it raises ends everything.
"""

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

__all__ = ["Advanced", "Done", "Lost", "News", "Work", "num_cores", "run_jobs"]

GRACE = 10.0
"""Seconds that a process which is told to end has for its `finally` clauses."""

_DEATH = 2.0
"""Seconds that a killed process is waited for: one that a dead disk holds does not disappear."""

Item = TypeVar("Item")
Step = TypeVar("Step")
Result = TypeVar("Result")

Work: TypeAlias = Callable[[Item], Generator[Step, None, Result]]
"""A function of an item that yields its steps, if it has any, and returns its result."""


@dataclass(frozen=True)
class Advanced(Generic[Item, Step]):
    """A step of an item."""

    item: Item
    step: Step


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """The end of an item, and its result."""

    item: Item
    result: Result


@dataclass(frozen=True)
class Lost(Generic[Item]):
    """The end of an item that took its process along.

    Attributes:
        item: The item.
        reason: A clause for people.
        exit_code: Of its process; None where that was ended as it took too long.
    """

    item: Item
    reason: str
    exit_code: int | None


News: TypeAlias = Advanced[Item, Step] | Done[Item, Result] | Lost[Item]


def num_cores() -> int:
    """Count the cores this process may run on, fewer than the machine's under a job scheduler."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def run_jobs(
    work: Work[Item, Step, Result],
    items: Sequence[Item],
    num_workers: int,
    *,
    time_limit: float = math.inf,
    preload: str | None = None,
    grace: float = GRACE,
) -> Generator[News[Item, Step, Result], None, None]:
    """Do something with items, in this process or in others.

    An item whose process dies (memory, a crash in a library) or takes too long is told, and a new
    process goes on with the rest. When the caller stops asking, for whatever reason, the processes
    end, and what `work` has in its `finally` clauses is done; when the caller is killed, they end
    by themselves. Ctrl-C is left to the caller.

    Args:
        work: Processes an item; a function or object that can be pickled.
        items: Arguments of `work`, one after another; can be pickled.
        num_workers: Processes, 0 for this one.
        time_limit: Seconds that an item may take in a process; its start does not count.
        preload: A module from which processes are made that have it imported already, so that a
            new one takes milliseconds: for work that is expected to kill many. None for processes
            that begin from nothing.
        grace: Seconds that processes which are told to end have for their `finally` clauses.

    Yields:
        The steps and the end of each item, as they happen.

    Raises:
        RuntimeError: In a process `work` raised something; with its traceback.
    """
    if num_workers:
        yield from _Pool(work, items, num_workers, time_limit, preload, grace).run()
        return
    assert time_limit == math.inf, "only a process of its own can be ended"
    for item in items:
        with closing(work(item)) as steps:
            yield from _followed(item, steps)


def _followed(
    item: Item, steps: Generator[Step, None, Result]
) -> Iterator[Advanced[Item, Step] | Done[Item, Result]]:
    """Yield the steps of an item and its end."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            yield Done(item, end.value)
            return
        yield Advanced(item, step)


class _Worker(Generic[Item]):
    """A process, the item it is at, and until when.

    Args:
        work: Processes an item.
        context: Start method of the process.
    """

    def __init__(self, work: Work[Item, Any, Any], context: Any) -> None:
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        # Daemons end with this process even if a second Ctrl-C breaks into the tidying.
        self.process: BaseProcess = context.Process(target=_serve, args=(work, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.items: tuple[Item, ...] = ()  # the one it is at, if any
        self.is_ready = False
        self.deadline = math.inf

    def give(self, items: tuple[Item, ...], time_limit: float) -> None:
        """Hand it an item; none lets it end."""
        self.items = items
        self.deadline = time.monotonic() + time_limit if items else math.inf
        with suppress(OSError):  # it is dead, which its connection will tell
            self.connection.send(items)

    def bury(self) -> int | None:
        """Wait for its death, not for long, and return its exit code."""
        self.process.join(_DEATH)
        self.process.kill()
        self.process.join(_DEATH)
        self.connection.close()
        return self.process.exitcode


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Note Ctrl-C, which is told afterwards, and hold it back from processes that begin meanwhile.

    It reaches every process of a terminal; one that begins would break off before it ignores it.
    """
    noted = list[int]()
    handler = signal.getsignal(signal.SIGINT)
    # Other threads may let the signal through; the handler runs in the main one, whichever took it.
    is_ours = callable(handler) and threading.current_thread() is threading.main_thread()
    if is_ours:
        signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        with _blocked_interrupts():
            yield
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, handler)
    if noted:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Block Ctrl-C for this thread, which processes inherit from it."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Pool(Generic[Item, Step, Result]):
    """The workers of `run_jobs`, with its arguments."""

    def __init__(
        self,
        work: Work[Item, Step, Result],
        items: Sequence[Item],
        num_workers: int,
        time_limit: float,
        preload: str | None,
        grace: float,
    ) -> None:
        # Not forked: a fork of a process whose threads hold locks may hang.
        if "forkserver" not in multiprocessing.get_all_start_methods():  # Windows
            preload = None
        self._context: Any = multiprocessing.get_context("forkserver" if preload else "spawn")
        if preload:
            self._context.set_forkserver_preload([preload])
        self._work = work
        self._waiting = deque(items)
        self._num_workers = num_workers
        self._time_limit = time_limit
        self._grace = grace
        self._workers = dict[Any, _Worker[Item]]()

    def run(self) -> Iterator[News[Item, Step, Result]]:
        """See `run_jobs`."""
        try:
            while self._waiting or self._workers:
                self._start_missing()
                soonest = min(worker.deadline for worker in self._workers.values())
                left = None if math.isinf(soonest) else max(0.0, soonest - time.monotonic())
                for connection in wait(list(self._workers), left):
                    yield from self._hear(self._workers[connection])
                for worker in list(self._workers.values()):
                    if time.monotonic() >= worker.deadline and not worker.connection.poll():
                        yield self._give_up(worker)
        finally:
            self._stop()

    def _start_missing(self) -> None:
        starting = sum(not worker.is_ready for worker in self._workers.values())
        room = self._num_workers - len(self._workers)
        for _ in range(min(room, len(self._waiting) - starting)):
            with _interrupts_wait():
                worker = _Worker(self._work, self._context)
                self._workers[worker.connection] = worker

    def _hear(self, worker: _Worker[Item]) -> Iterator[News[Item, Step, Result]]:
        """Read a message of a worker, or its end; yield nothing when it is ready for an item."""
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._last_news(worker)
            return
        if kind == "fault":
            code = self._remove(worker)
            raise RuntimeError(f"a worker process ended with exit code {code}:\n{value}")
        if kind == "step":
            yield Advanced(worker.items[0], value)
            return
        done = worker.items
        worker.is_ready = True
        worker.give((self._waiting.popleft(),) if self._waiting else (), self._time_limit)
        if done:
            yield Done(done[0], value)

    def _last_news(self, worker: _Worker[Item]) -> Iterator[Lost[Item]]:
        """Make the news of the end of a process."""
        code = self._remove(worker)
        how = f"its process ended with exit code {code}"
        if not worker.is_ready:
            raise RuntimeError(f"{how} before its first item; its own message stands above")
        for item in worker.items:
            yield Lost(item, how, code)

    def _give_up(self, worker: _Worker[Item]) -> Lost[Item]:
        """End a process whose item takes too long."""
        worker.process.kill()
        self._remove(worker)
        return Lost(worker.items[0], f"it was ended after {self._time_limit:g} s", None)

    def _remove(self, worker: _Worker[Item]) -> int | None:
        del self._workers[worker.connection]
        return worker.bury()

    def _stop(self) -> None:
        for worker in self._workers.values():
            worker.process.terminate()
        end = time.monotonic() + self._grace
        for worker in self._workers.values():
            worker.process.join(max(0.0, end - time.monotonic()))
            worker.process.kill()  # it was within a long call of a library
        for worker in self._workers.values():
            worker.bury()


def _serve(work: Work[Item, Step, Result], connection: Any) -> None:
    """Run a worker process: one item after another; tidy up when told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send(("ready", None))
        while items := connection.recv():
            _do(work, items[0], connection)
    except SystemExit as end:
        os._exit(int(end.code or 0))  # taking the interpreter down may take seconds
    except (EOFError, ConnectionError):
        return  # nobody is there any more


def _do(work: Work[Item, Step, Result], item: Item, connection: Any) -> None:
    try:
        with closing(work(item)) as steps:
            for news in _followed(item, steps):
                if isinstance(news, Advanced):
                    connection.send(("step", news.step))
                else:
                    connection.send(("done", news.result))
    except Exception:  # noqa: BLE001 - handed to the parent, which raises it
        connection.send(("fault", traceback.format_exc()))
        sys.exit(1)


def _leave(*_: object) -> NoReturn:
    """Tidy up, undisturbed, and end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def _end_with_parent() -> None:
    """End this process when its parent is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
