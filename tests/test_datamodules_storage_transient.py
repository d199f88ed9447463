"""Faults that pass are waited for, named and counted; all others are raised at once."""

import errno
import os
from collections.abc import Callable

import pytest

from datamodules.storage import transient
from datamodules.storage.transient import WAITS, is_transient, retry


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been slept."""
    slept: list[float] = []
    monkeypatch.setattr(transient, "sleep", slept.append)
    return slept


def failing(*errors: Exception) -> Callable[[], str]:
    """A function that raises these, one a call, and then succeeds."""
    left = list(errors)

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "read"

    return attempt


def fault(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_faults_that_pass_are_waited_for_named_and_counted(waits: list[float]) -> None:
    said: list[str] = []
    attempt = failing(fault(errno.EIO), fault(errno.ESTALE), fault(errno.EIO))
    assert retry(attempt, "a.mp4", said.append) == "read"
    assert waits == list(WAITS[:3]) == sorted(waits)
    assert [name for line in said for name in ("EIO", "ESTALE") if name in line] == [
        *("EIO", "ESTALE", "EIO")
    ]
    assert said[0] == (
        "a.mp4 could not be read (EIO: Input/output error); trying again in 0.2 s (attempt 1 of 5)"
    )


def test_fault_that_stays_is_raised_at_last(waits: list[float]) -> None:
    said: list[str] = []
    attempt = failing(*[fault(errno.ETIMEDOUT)] * (len(WAITS) + 1))
    with pytest.raises(TimeoutError):
        retry(attempt, "a.mp4", said.append)
    assert waits == list(WAITS)
    assert len(said) == len(WAITS)


@pytest.mark.parametrize("error", [fault(errno.ENOENT), fault(errno.EACCES), ValueError("no")])
def test_other_faults_are_raised_at_once(waits: list[float], error: Exception) -> None:
    assert not is_transient(error)
    with pytest.raises(type(error)):
        retry(failing(error), "a.mp4", pytest.fail)
    assert waits == []


def test_caller_may_know_of_other_faults_that_pass(waits: list[float]) -> None:
    said: list[str] = []
    attempt = failing(MemoryError(), fault(errno.ENOENT))
    faults = (MemoryError, FileNotFoundError)
    retry(attempt, "a", said.append, faults=faults, may_pass=lambda error: True, waits=(1, 2))
    assert waits == [1, 2]
    assert "MemoryError" in said[0]
    assert "ENOENT" in said[1]
