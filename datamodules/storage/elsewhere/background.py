"""Tasks that a process does beside its own work, in a few threads."""

import queue
import threading
from collections.abc import Callable
from functools import cache

from datamodules.storage.forks import after_fork

__all__ = ["Background", "process_background"]

Task = Callable[[], None]


class Background:
    """Threads that do tasks in the order in which they were given.

    They end with the process, whatever they do then. A task has to know what to do with its errors.

    Args:
        threads: Number of threads, started with the first task.
    """

    def __init__(self, threads: int) -> None:
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._threads = threads
        self._started = 0

    def add(self, task: Task) -> None:
        """Have a task done.

        Args:
            task: Called without arguments, in a thread.
        """
        self._tasks.put(task)
        if self._started < self._threads:
            self._started += 1
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._tasks.get()()


@cache
def process_background() -> Background:
    """Give the threads of this process, which wait for servers most of the time."""
    return Background(threads=8)


after_fork(process_background.cache_clear)
