"""Faults of a disk or mount that pass: what failed is tried again, after growing waits."""

import errno
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import sleep
from typing import TypeVar

__all__ = ["WAITS", "heard", "is_transient", "retry", "tell"]

Result = TypeVar("Result")

WAITS = (0.2, 0.6, 2.0, 6.0)
"""Seconds before the second attempt, the third and so on."""

_TRANSIENT = frozenset(
    (
        *("EIO", "EREMOTEIO", "ESTALE", "EAGAIN", "EBUSY", "ENFILE", "ENOMEM", "ETIMEDOUT"),
        *("ENOTCONN", "ESHUTDOWN", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET"),
        *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
    )
)
"""Names of what a disk, a mount or its server says and a moment later may not; a system lacks some
of them."""


_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect what is said before each wait of a `with` block, instead of warning of it."""
    sentences: list[str] = []
    token = _heard.set(sentences)
    try:
        yield sentences
    finally:
        _heard.reset(token)


def tell(sentence: str) -> None:
    """Say that a disk, a mount or a server fails, to who listens: see `heard`."""
    sentences = _heard.get()
    if sentences is None:
        warnings.warn(sentence, stacklevel=1)
    else:
        sentences.append(sentence)


def is_transient(error: BaseException) -> bool:
    """Return True for a fault that may have passed a moment later, and tells nothing of a file."""
    return isinstance(error, OSError) and _errno_name(error) in _TRANSIENT


def retry(
    attempt: Callable[[], Result],
    what: str,
    tell: Callable[[str], None],
    *,
    faults: tuple[type[Exception], ...] = (OSError,),
    may_pass: Callable[[BaseException], bool] = is_transient,
    waits: Sequence[float] = WAITS,
) -> Result:
    """Make an attempt, and make it again after faults that may pass.

    Args:
        attempt: What may fail.
        what: What it reads, for people; a path mostly.
        tell: Called with a sentence before each wait.
        faults: Exceptions that are looked at; others are raised at once.
        may_pass: Tells those of them that are worth another attempt.
        waits: Seconds before each further attempt.

    Returns:
        What the first attempt that did not fail returned.

    Raises:
        Exception: The fault of the last attempt, or one that does not pass.
    """
    for number, seconds in enumerate(waits, start=1):
        try:
            return attempt()
        except faults as error:
            if not may_pass(error):
                raise
            name = _errno_name(error) or type(error).__name__
            reason = getattr(error, "strerror", None) or str(error) or "no reason given"
        tell(
            f"{what} could not be read ({name}: {reason}); trying again in {seconds:g} s "
            f"(attempt {number} of {len(waits) + 1})"
        )
        sleep(seconds)
    return attempt()


def _errno_name(error: BaseException) -> str | None:
    number = getattr(error, "errno", None)
    return None if number is None else errno.errorcode.get(number)
