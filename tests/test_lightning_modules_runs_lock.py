"""One fit at a time in a run folder: who holds it is said, and what is left over holds nothing."""

import errno
import fcntl
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from command_line import SMALL
from conftest import PROJECT_ROOT
from lightning.fabric.utilities.rank_zero import rank_zero_only

from datamodules.errors import UserError
from lightning_modules.cli import main
from lightning_modules.runs import lock
from lightning_modules.runs.lock import FILE_NAME, Holder, RunLock

FORK = multiprocessing.get_context("fork")
OTHER = {"host": "elsewhere", "pid": 1, "since": "2026-01-02 03:04:05 UTC"}


@pytest.fixture(params=["locks", "no locks"])
def _file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no locks":

        def refuse(*_: Any) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "lockf", refuse)
        monkeypatch.setattr(lock, "_SETTLE_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lock, "_WATCH_SECONDS", 0.4)
    for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)


def hold(folder: Path, ready: Connection) -> None:
    """Hold a folder for ever, as a fit with a loader worker does."""
    with closing(RunLock()) as held:
        held.take(folder)
        worker = FORK.Process(target=time.sleep, args=(20,), daemon=False)
        worker.start()
        ready.send((os.getpid(), worker.pid))
        time.sleep(60)


@contextmanager
def other_run(folder: Path) -> Iterator[Any]:
    """Another process that runs in a folder; it is killed in the end, its worker lives on."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=hold, args=(folder, there))
    process.start()
    assert here.poll(20)
    pid, worker = here.recv()
    assert pid == process.pid
    try:
        yield process
    finally:
        process.kill()
        process.join()
        os.kill(worker, 9)


def take_and_leave(folder: Path) -> None:
    with closing(RunLock()) as own:
        own.take(folder)
        own.take(folder)
        holder = Holder(**json.loads((folder / FILE_NAME).read_text()))
        assert (holder.host, holder.pid) == (os.uname().nodename, os.getpid())
    assert (folder / FILE_NAME).read_text() == ""


@pytest.mark.usefixtures("_file_system")
def test_second_run_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    take_and_leave(tmp_path)
    with other_run(tmp_path) as process:
        started = rf"in use by process {process.pid} on \S+, since \d{{4}}-\d\d-\d\d [\d:]+ UTC"
        with pytest.raises(UserError, match=started):
            take_and_leave(tmp_path)
        process.kill()
        process.join()
        take_and_leave(tmp_path)  # at once, while the killed run's worker still lives
    take_and_leave(tmp_path)


@pytest.mark.usefixtures("_file_system")
@pytest.mark.parametrize("is_touched", [True, False])
def test_run_of_another_machine_is_watched(tmp_path: Path, is_touched: bool) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(json.dumps(OTHER))
    end = threading.Event()

    def touch() -> None:
        while is_touched and not end.wait(0.05):
            os.utime(path)

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        if is_touched:
            with pytest.raises(UserError, match="in use by process 1 on elsewhere, since 2026-01"):
                take_and_leave(tmp_path)
            assert json.loads(path.read_text()) == OTHER
        else:
            take_and_leave(tmp_path)
    finally:
        end.set()
        thread.join()


def test_requeued_job_follows_itself_on_another_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    for restarts, watches in (("1", False), ("0", True)):
        (tmp_path / FILE_NAME).write_text(json.dumps({**OTHER, "job": "41"}))
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
        take_and_leave(tmp_path)
        assert ("looking for" in capsys.readouterr().out) == watches


def test_half_a_record_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"host": "elsew')
    take_and_leave(tmp_path)


def test_only_the_first_rank_takes_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with other_run(tmp_path), closing(RunLock()) as own:
        monkeypatch.setattr(rank_zero_only, "rank", 1)
        own.take(tmp_path)
        monkeypatch.setattr(rank_zero_only, "rank", 0)
        monkeypatch.setenv("NODE_RANK", "1")
        own.take(tmp_path)


@pytest.mark.parametrize("more", [[], ["--ckpt_path=last"]])
def test_fit_in_a_folder_in_use_is_refused_by_name(
    tmp_path: Path, motion_root: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    folder = tmp_path / "name" / "a"
    folder.mkdir(parents=True)
    words = ["fit", "--config", str(PROJECT_ROOT / "configs" / "quickstart.yaml")]
    words += [f"--data.root={motion_root}", f"--run.folder={tmp_path}", *SMALL]
    with other_run(folder) as process:
        with pytest.raises(SystemExit, match="2"):
            main([*words, "--run.name=name", "--run.version=a", *more])
        assert f"{folder} is in use by process {process.pid} on" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]
