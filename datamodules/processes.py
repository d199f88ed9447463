"""One video after another in processes that may die, with progress from inside a video."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from datamodules.video.errors import VideoError

__all__ = ["Event", "Step", "process_videos"]

Video = TypeVar("Video")


class Step(NamedTuple):
    """A part of a video that was done.

    Attributes:
        frames: How many frames.
        share: Which part of the video that is.
    """

    frames: int
    share: float


Work: TypeAlias = Callable[[Video], Generator[Step, None, None]]


class Event(NamedTuple, Generic[Video]):
    """News of a video.

    Attributes:
        video: Which.
        step: The part that was done now; None at its end.
        error: At its end, why it could not be done; empty where it was.
    """

    video: Video
    step: Step | None
    error: str = ""


def process_videos(
    work: Work[Video], videos: Sequence[Video], num_workers: int
) -> Generator[Event[Video], None, None]:
    """Do something with videos, in this process or in others.

    A video that cannot be read, or takes its process along with it (memory, a crash in a library),
    is reported, and the rest goes on. When the caller stops asking, for whatever reason, the
    processes end, and what `work` has in its `finally` clauses is done; when the caller is killed,
    they end by themselves.

    Args:
        work: What to do with a video, step by step; a function or object that can be pickled.
        videos: What `work` is called with, one after another; can be pickled.
        num_workers: Processes, 0 for this one.

    Yields:
        The steps and the end of each video, as they happen.

    Raises:
        OSError: `work` raised it: not a video's fault.
        RuntimeError: In a process `work` raised something else; with its traceback.
    """
    if num_workers:
        yield from _in_processes(work, videos, num_workers)
        return
    for video in videos:
        try:
            with closing(work(video)) as steps:
                for step in steps:
                    yield Event(video, step)
        except VideoError as error:
            yield Event(video, None, f"{error.reason}: {error.detail}")
        else:
            yield Event(video, None)


@dataclass
class _Worker(Generic[Video]):
    """A process and the video it is at."""

    process: BaseProcess
    connection: Connection
    video: Video | None = None
    is_ready: bool = False

    def send(self, video: Video | None) -> None:
        """Hand it a video; None lets it end."""
        self.video = video
        self.connection.send(video)

    def event(self, message: Step | str) -> Event[Video] | None:
        """What a message of it says; nothing of a video when it is ready for its first."""
        self.is_ready = True
        if self.video is None:
            return None
        if isinstance(message, Step):
            return Event(self.video, message)
        return Event(self.video, None, message)


def _in_processes(
    work: Work[Video], videos: Sequence[Video], num_workers: int
) -> Iterator[Event[Video]]:
    waiting = list(reversed(videos))
    workers = dict[object, _Worker[Video]]()
    try:
        while waiting or workers:
            for _ in range(min(len(waiting), num_workers - len(workers))):
                started = _start(work)
                workers[started.connection] = started
            for connection in wait([worker.connection for worker in workers.values()]):
                worker = workers[connection]
                try:
                    message = worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    event = _last_event(workers.pop(connection))
                else:
                    if isinstance(message, Exception):
                        raise message
                    event = worker.event(message)
                    if not isinstance(message, Step):
                        worker.send(waiting.pop() if waiting else None)
                if event is not None:
                    yield event
    finally:
        _stop(list(workers.values()))


def _last_event(worker: _Worker[Video]) -> Event[Video] | None:
    """What the end of a process says."""
    worker.process.join()
    worker.connection.close()
    how = f"its process ended with exit code {worker.process.exitcode}"
    if not worker.is_ready:
        raise RuntimeError(f"{how} before its first video; its own message stands above")
    return None if worker.video is None else Event(worker.video, None, how)


def _start(work: Work[Video]) -> _Worker[Video]:
    # Spawned, not forked: a fork of a process whose threads hold locks may hang.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # Daemons end with this process even if a second Ctrl-C breaks into the tidying.
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    # Ctrl-C reaches every process of a terminal: from its first moment this one leaves it to us.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    theirs.close()
    return _Worker(process, ours)


def _stop(workers: Sequence[_Worker[Video]]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(timeout=10)
        worker.process.kill()  # it was within a long call of a library
        worker.process.join()
        worker.connection.close()


def _serve(work: Work[Video], connection: Connection) -> None:
    """A worker process: one video after another; tidies up when told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send("")
        while (video := connection.recv()) is not None:
            connection.send(_do(work, video, connection))
    except SystemExit:
        os._exit(0)  # taking the interpreter down may take seconds


def _do(work: Work[Video], video: Video, connection: Connection) -> str | Exception:
    """One video: why it could not be done, empty where it was, or a fault that is not its own."""
    try:
        with closing(work(video)) as steps:
            for step in steps:
                connection.send(step)
    except VideoError as error:
        return f"{error.reason}: {error.detail}"
    except OSError as error:
        return error
    except Exception:  # noqa: BLE001 - handed to the parent, which raises it
        return RuntimeError(traceback.format_exc())
    return ""


def _end_with_parent() -> None:
    """End this process at once when its parent is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
