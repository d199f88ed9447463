"""What Windows lacks is hidden here: locks, signals, some calls of the system."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from datamodules import atomic
from datamodules.jobs.processes import Done, run_jobs
from lightning_modules.resume import stop_signals

LACKING = {
    "os": (
        *("O_CLOEXEC", "O_DIRECTORY", "pread", "pwrite", "fork", "register_at_fork", "killpg"),
        *("sched_getaffinity", "getpgid", "posix_fadvise"),
    ),
    "signal": ("SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGHUP", "SIGKILL", "pthread_sigmask", "sigwait"),
}
"""Names of two modules that Windows does not have."""

HIDE = f"""
import os, signal, sys
import lightning.pytorch, torchvision, wandb  # these look at the system's name instead
sys.modules["fcntl"] = None
for module, names in {LACKING}.items():
    for name in names:
        delattr(sys.modules[module], name)
"""


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], ModuleType]:
    """Imports a module of ours once more, as a system does that lacks all this."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    for module, names in LACKING.items():
        for name in names:
            monkeypatch.delattr(sys.modules[module], name)

    def imported(module: ModuleType) -> ModuleType:
        spec = spec_from_file_location(f"{module.__name__}_elsewhere", module.__file__ or "")
        assert spec is not None
        assert spec.loader is not None
        again = module_from_spec(spec)
        spec.loader.exec_module(again)
        return again

    return imported


def test_files_are_written_whole_without_locks(
    windows: Callable[[ModuleType], ModuleType], tmp_path: Path
) -> None:
    files = windows(atomic)
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"one\nhalf a li")
    files.append_line(log, b"two")
    files.append_line(log, b"three")
    assert log.read_bytes() == b"one\nhalf a li\ntwo\nthree\n"
    with files.locked(tmp_path / "lock", wait=False) as is_held:
        assert not is_held
    with files.path_beside(tmp_path / "target", flush_folder=True) as part:
        part.write_text("whole")
    assert (tmp_path / "target").read_text() == "whole"


def test_stop_signals_work_without_those_of_a_scheduler(
    windows: Callable[[ModuleType], ModuleType],
) -> None:
    signals = windows(stop_signals)
    before = signal.getsignal(signal.SIGTERM)
    with signals.StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.code == signals.STOPPED
        stop.code, stop.deferring = 0, True
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.code == signals.INTERRUPTED
    assert signal.getsignal(signal.SIGTERM) is before
    signals._end_workers()


def test_jobs_spawn_where_nothing_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    asked: list[str | None] = []
    get_context = multiprocessing.get_context

    def noted(method: str | None = None) -> object:
        asked.append(method)
        return get_context("fork")  # sooner there

    monkeypatch.setattr(multiprocessing, "get_context", noted)
    done = list(run_jobs(_nothing, [1], num_workers=1, time_limit=60, preload="json"))
    assert done == [Done(1, None)]
    assert asked == ["spawn"]


def _nothing(item: int) -> object:
    """A job without steps."""
    return
    yield


@pytest.mark.slow
@pytest.mark.one_slow_case
def test_own_videos_train_and_are_labelled(class_folders: Path, tmp_path: Path) -> None:
    script = f"""{HIDE}
from lightning_modules.cli import main
network = ["--model", "BaselineModule", "--model.network=c2d_tiny"]
small = ["--data.sampling.num_segments=2", "--data.loading.num_workers=0"]
words = ["--config", "data/video_folder", "--data.root", sys.argv[1], *network, *small]
main(["fit", *words, "--config", "override/debug", "--trainer.logger=true"])
main(["predict", "--ckpt_path", "runs/debug/0/checkpoints/last.ckpt", sys.argv[1]])
assert sys.modules["fcntl"] is None and not hasattr(signal, "SIGUSR1")
"""
    command = [sys.executable, "-c", script, str(class_folders)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 19
