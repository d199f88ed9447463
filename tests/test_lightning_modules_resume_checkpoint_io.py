"""A checkpoint is written whole or not at all, and the one before it survives."""

import errno
import multiprocessing
import os
import random
import resource
import signal
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.errors import UserError
from lightning_modules.resume.checkpoint_io import AtomicCheckpointIO
from lightning_modules.runs.folder import LAST, PREVIOUS

FORK_SERVER = multiprocessing.get_context("forkserver")
pytestmark = pytest.mark.usefixtures("fork_server")


def content(number: int, size: int = 1000) -> dict[str, Any]:
    return {"number": number, "weights": torch.full((size,), float(number))}


def number_of(path: Path) -> int | None:
    """Number of a checkpoint; None where it is missing or damaged."""
    try:
        loaded = AtomicCheckpointIO().load_checkpoint(path)
    except UserError:
        return None
    assert loaded["weights"].unique().tolist() == [float(loaded["number"])]
    return int(loaded["number"])


def test_last_keeps_the_one_before_it_and_best_does_not(tmp_path: Path) -> None:
    for number in range(3):
        for name in (LAST, "best.ckpt"):
            AtomicCheckpointIO().save_checkpoint(content(number), tmp_path / "run" / name)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {LAST, PREVIOUS, "best.ckpt"}
    assert [number_of(tmp_path / "run" / name) for name in (LAST, PREVIOUS)] == [2, 1]


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    torch.save({"call": os.getpid}, tmp_path / "bad.ckpt")
    with pytest.raises(Exception, match=r"opened safely \(UnpicklingError\)"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "bad.ckpt", weights_only=False)


def test_fault_that_is_not_the_disks_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)pickle|get local object"):
        AtomicCheckpointIO().save_checkpoint({"call": lambda: 0}, tmp_path / LAST)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [LAST, "best.ckpt"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_is_said_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: str
) -> None:
    AtomicCheckpointIO().save_checkpoint(content(1), tmp_path / name)

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"cannot be written \(No space left on device\); what was"):
        AtomicCheckpointIO().save_checkpoint(content(2), tmp_path / name)
    assert number_of(tmp_path / name) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def save_beyond_a_limit(path: Path) -> None:
    """Save more than the process may write, as on a full disk: the write itself fails."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        AtomicCheckpointIO().save_checkpoint(content(2, 100_000), path)
    except OSError as error:
        path.with_name("error").write_text(str(error))


def test_failing_write_is_said_and_leaves_what_was_there(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(content(1), tmp_path / LAST)
    process = FORK_SERVER.Process(target=save_beyond_a_limit, args=(tmp_path / LAST,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert "last.ckpt cannot be written (File too large)" in (tmp_path / "error").read_text()
    assert number_of(tmp_path / LAST) == 1
    assert {path.name for path in tmp_path.iterdir()} == {LAST, "error"}


def save_for_ever(folder: Path, done: Any) -> None:
    torch.set_num_threads(1)
    number = 0
    while True:
        for name in (LAST, "best.ckpt"):
            AtomicCheckpointIO().save_checkpoint(content(number, 200_000), folder / name)
        done.value = number
        number += 1


def check_kills(folder: Path, kills: int) -> None:
    """Kill a process that saves all the time until so many kills came while a file was written.

    The newest file is never older than one save.
    """
    draws = random.Random(1)
    inside = tried = 0
    while inside < kills:
        where = folder / str(tried)
        finished = save_until_killed(where, draws.uniform(0, 0.1))
        assert number_of(where / "best.ckpt") in {finished, finished + 1}
        newest = number_of(where / LAST)
        if newest is None:  # killed between the two renames
            assert not (where / LAST).exists()
            newest = number_of(where / PREVIOUS)
        assert newest in {finished, finished + 1}
        inside += any(where.glob(".*.tmp"))
        tried += 1
        assert tried < 5 * kills


def save_until_killed(folder: Path, seconds: float) -> int:
    """Start a process that saves, kill it some time later; the number of its last whole save."""
    done: Synchronized[int] = FORK_SERVER.Value("i", -1)
    process = FORK_SERVER.Process(target=save_for_ever, args=(folder, done))
    process.start()
    deadline = time.monotonic() + 60
    while done.value < 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(seconds)
    process.kill()
    process.join()
    assert done.value >= 1
    return done.value


def test_killed_saves_leave_a_good_checkpoint(tmp_path: Path) -> None:
    check_kills(tmp_path, 5)


@pytest.mark.slow
def test_fifty_killed_saves_leave_a_good_checkpoint(tmp_path: Path) -> None:
    check_kills(tmp_path, 50)
