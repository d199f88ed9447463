"""Renewal of what a forked process must not share with its parent, and what it must not free.

A forked process has one thread, whatever its parent had. To free an object whose threads are the
parent's, such as a converter of FFmpeg's or a process group, is to wait for them for ever; and the
parent's garbage is freed wherever the child's collector happens to run. So the garbage of a parent
is none of a child's business: importing this module hides it from every process that is forked.
"""

import gc
import os
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
    renew: Callable[[], object] = lambda: None,
) -> None:
    """Have something called around every fork from now on.

    Args:
        before: Keeps other threads from what a child must not find half done.
        after: Lets them go on, in the parent.
        renew: See `after_fork`.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after, after_in_child=renew)


# what is frozen no collector looks at; what was so before in the parent comes back too, which
# costs it time and nothing else
around_fork(gc.freeze, gc.unfreeze)
