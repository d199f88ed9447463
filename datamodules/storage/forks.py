"""Renewal of what a forked process must not share with its parent, and what it must not free.

A forked process has one thread, whatever its parent had. To free an object whose threads are the
parent's, such as a converter of FFmpeg's or a process group, is to wait for them for ever; and the
parent's garbage is freed wherever the child's collector happens to run. So the garbage of a parent
is none of a child's business: importing this module hides from the collector of every process that
is forked all that was there before it.
"""

import gc
import os
import threading
from collections.abc import Callable

__all__ = ["after_fork", "around_fork"]


def after_fork(renew: Callable[[], object]) -> None:
    """Have something called in every process that is forked off from now on.

    Args:
        renew: Replaces locks, threads and connections, which do not work in a child.
    """
    if hasattr(os, "register_at_fork"):  # no process forks on Windows
        os.register_at_fork(after_in_child=renew)


def around_fork(
    before: Callable[[], object],
    after: Callable[[], object],
    renew: Callable[[], object],
) -> None:
    """Have something called around every fork from now on.

    Args:
        before: Keeps other threads from what a child must not find half done.
        after: Lets them go on, in the parent.
        renew: See `after_fork`.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after, after_in_child=renew)


class _CollectorPause:
    """The collector of garbage, which does not run while a process is forked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._was_enabled = True

    def begin(self) -> None:
        """Let no other thread fork, and stop collecting."""
        self._lock.acquire()
        self._was_enabled = gc.isenabled()
        gc.disable()

    def end(self) -> None:
        """Go on as before, in the parent."""
        if self._was_enabled:
            gc.enable()
        self._lock.release()

    def end_in_child(self) -> None:
        """Leave all that was inherited alone for good, and collect what comes from now on."""
        gc.freeze()
        self._lock = threading.Lock()
        if self._was_enabled:
            gc.enable()


_pause = _CollectorPause()
around_fork(_pause.begin, _pause.end, _pause.end_in_child)
