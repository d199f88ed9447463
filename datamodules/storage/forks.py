"""Renewal of what a forked process must not share with its parent."""

import os
from collections.abc import Callable

__all__ = ["after_fork"]


def after_fork(renew: Callable[[], object]) -> None:
    """Have something called in every process that is forked off from now on.

    Args:
        renew: Replaces locks, threads and connections, which do not work in a child.
    """
    if hasattr(os, "register_at_fork"):  # no process forks on Windows
        os.register_at_fork(after_in_child=renew)
