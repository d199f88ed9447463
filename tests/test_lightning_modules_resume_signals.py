"""Slurm's environment, signals and the watchdog, each by itself."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import yaml
from conftest import PROJECT_ROOT
from lightning.pytorch.strategies import DDPStrategy
from warm_python import run_script

from lightning_modules.callbacks.watchdog import Watchdog, explain
from lightning_modules.resume import slurm
from lightning_modules.resume.stop_signals import INTERRUPTED, STOPPED, StopSignals

BATCH = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "fit", "SLURM_NNODES": "1"}
STEP = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    with StopSignals() as stop:
        yield stop


def send(number: signal.Signals) -> None:
    """Send this process a signal, and let the handler run."""
    os.kill(os.getpid(), number)
    time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_stop_signal_is_noted(signals: StopSignals, number: signal.Signals) -> None:
    assert signals.code == 0
    send(number)
    send(number)
    assert signals.code == STOPPED


def test_first_interrupt_is_noted_and_the_second_stops(signals: StopSignals) -> None:
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
    signals.deferring = True
    send(signal.SIGINT)
    assert signals.code == INTERRUPTED
    signals.holding = True
    send(signal.SIGINT)
    signals.holding = False
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_processes_started_meanwhile_do_not_die_of_a_stop_signal(signals: StopSignals) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); print('alive')"
    command = [sys.executable, "-S", "-c", code]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "alive\n"
    signals.restore()
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGTERM


STARTING = """
import os, signal, subprocess, sys, time, types
from lightning_modules import cli

how, number = sys.argv[1], signal.Signals[sys.argv[2]]
hanging = types.ModuleType("hanging")

def run(words, signals):
    assert not {"torch", "lightning", "numpy"} & set(sys.modules)
    if how == "child rank":
        environ = {**os.environ, "LOCAL_RANK": "1"}
        subprocess.Popen([sys.executable, "-c", child, "self", sys.argv[2]], env=environ)
    else:
        os.kill(os.getpid(), number)
    if how == "error":
        raise ConnectionResetError("of a process that has died of the signal")
    time.sleep(60)

child = sys.orig_argv[2]
hanging.run = run
sys.modules["hanging"] = hanging
cli.COMMANDS["fit"] = ("hanging", "")
cli.main(["fit"])
"""


@pytest.mark.parametrize(
    ("how", "name", "code"),
    [
        ("self", "SIGTERM", STOPPED),
        ("self", "SIGUSR1", STOPPED),
        ("self", "SIGINT", INTERRUPTED),
        ("error", "SIGTERM", STOPPED),
        ("child rank", "SIGTERM", STOPPED),
    ],
)
def test_fit_that_has_not_begun_is_requeued_and_left(
    how: str, name: str, code: int, tmp_path: Path
) -> None:
    """From before the imports on, and where the main thread hangs or fails meanwhile."""
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho JobState=RUNNING $* >> {tmp_path}/asked\n")
    (tmp_path / "scontrol").chmod(0o755)
    environ = {**os.environ, "SLURM_JOB_ID": "7", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [sys.executable, "-c", STARTING, how, name]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert time.monotonic() - began < 30
    assert "nothing has begun" in done.stderr
    assert "Traceback" not in done.stderr
    requeued = (tmp_path / "asked").exists() and "requeue 7" in (tmp_path / "asked").read_text()
    assert requeued == (code == STOPPED)


def test_task_that_does_not_speak_for_its_job_waits_for_the_one_that_does() -> None:
    assert slurm.is_first_task({})
    assert slurm.is_first_task({"SLURM_PROCID": "0"})
    assert not slurm.is_first_task({"SLURM_PROCID": "1"})


def test_hanging_worker_does_not_keep_the_process() -> None:
    code = (
        "import multiprocessing, time\n"
        "from lightning_modules.resume.stop_signals import StopSignals\n"
        "with StopSignals():\n"
        "    fork = multiprocessing.get_context('fork')\n"
        "    fork.Process(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, timeout=60)
    assert done.returncode == 0


def test_handlers_and_mask_are_put_back() -> None:
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    with StopSignals():
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(numbers)


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ({}, None),
        (BATCH, "7"),
        # a task of an array may have the array's own id, which would requeue all tasks
        ({"SLURM_JOB_ID": "6", "SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "2"}, "6_2"),
    ],
)
def test_job_id_is_that_of_the_task(environ: dict[str, str], job: str | None) -> None:
    assert slurm.job_id(environ) == job


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({**BATCH, "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}, "srun kinetoscope"),
        ({**STEP, "SLURM_JOB_NAME": "interactive"}, "takes for a shell"),
        ({k: v for k, v in STEP.items() if "PER_NODE" not in k}, "--ntasks-per-node"),
    ],
    ids=["python for srun", "interactive", "no ntasks-per-node"],
)
def test_ranks_that_would_wait_for_ever_are_refused(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        slurm.check_step(environ)


@pytest.mark.parametrize(
    ("environ", "change", "sentence"),
    [
        ({}, {"SLURM_NTASKS": "2"}, "has 2 tasks, but kinetoscope was started once"),
        (BATCH, {"SLURM_NTASKS": "3"}, "has 3 tasks, but kinetoscope was started once"),
        (STEP, {"SLURM_JOB_NAME": "bash"}, "2 tasks in a job named 'bash'"),
        ({**BATCH, "SLURM_NTASKS": "1"}, {"SLURM_NTASKS": "2"}, "srun kinetoscope"),
        (
            {**BATCH, "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "interactive"},
            {"SLURM_STEP_ID": "0"},
            "started 2 tasks in a job named 'interactive'",
        ),
    ],
    ids=["no Slurm", "one task", "srun", "one task said", "shell"],
)
def test_sound_jobs_are_accepted(
    environ: dict[str, str], change: dict[str, str], sentence: str
) -> None:
    """Each job is sound by one setting alone: with another value of it, it is refused."""
    slurm.check_step(environ)
    with pytest.raises(ValueError, match=sentence):
        slurm.check_step({**environ, **change})


@pytest.mark.parametrize(
    ("devices", "nodes", "sentence"),
    [(1, 1, "--trainer.devices=2"), (4, 1, "--ntasks-per-node=4"), (2, 2, "--nodes=2")],
)
def test_trainer_that_wants_other_tasks_is_refused(devices: int, nodes: int, sentence: str) -> None:
    slurm.check_tasks(2, 1, STEP)
    with pytest.raises(ValueError, match=sentence):
        slurm.check_tasks(devices, nodes, STEP)
    slurm.check_tasks(devices, nodes, {**STEP, "SLURM_JOB_NAME": "bash"})


@pytest.mark.parametrize(
    ("state", "refuses", "sentence"),
    [
        ("JobState=RUNNING Reason=None", False, "job 6_2 is requeued"),
        ("JobState=CONFIGURING Reason=None", False, "job 6_2 is requeued"),
        ("JobState=COMPLETING Reason=TimeLimit", False, "job 6_2 is requeued"),
        ("JobState=COMPLETING Reason=None", False, "was cancelled"),
        ("JobState=CANCELLED Reason=None", False, "was cancelled"),
        ("JobState=RUNNING Reason=None", True, r"refused to requeue job 6_2 \(Requested operation"),
    ],
)
def test_requeue_asks_unless_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, refuses: bool, sentence: str
) -> None:
    script = tmp_path / "scontrol"
    script.write_text(
        f"#!/bin/sh\necho $* >> {tmp_path}/asked\n"
        f'[ $1 = show ] && {{ echo "JobId=6 {state}"; exit; }}\n'
        + ("echo Requested operation is presently disabled >&2; exit 1\n" if refuses else "")
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert re.search(sentence, slurm.requeue("6_2"))
    asked = (tmp_path / "asked").read_text()
    assert ("requeue 6_2" in asked) == ("cancelled" not in sentence)


def test_requeue_without_scontrol_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "refused to requeue" in slurm.requeue("6")


HANGING = """
import threading, time
from types import SimpleNamespace
from lightning_modules.callbacks.watchdog import Watchdog
trainer = SimpleNamespace(global_rank=1, current_epoch=3)
watchdog = Watchdog(minutes=0.01)
watchdog.on_train_start(trainer, None)
for _ in range(8):
    watchdog.on_train_batch_start(trainer, None, None, 4)
    time.sleep(0.2)
watchdog.on_train_batch_end(trainer, None, None, None, 5)
def decode():
    time.sleep(60)
decode()
"""


@pytest.mark.usefixtures("fork_server")
def test_watchdog_ends_what_hangs_and_says_where(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run_script(HANGING, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "rank 1 has been loading the batch after batch 5 of epoch 3" in done.stderr
    assert "in decode" in done.stderr
    assert time.monotonic() - began < 60


class Counting(Watchdog):
    """A watchdog that notes what it would end, and spares this process."""

    def __init__(self) -> None:
        super().__init__(minutes=0.01)
        self.given_up: list[int] = []

    def _end(self, rank: int) -> NoReturn:
        self.given_up.append(rank)
        raise SystemExit


@pytest.mark.parametrize("end", ["on_train_end", "on_exception"])
def test_watchdog_leaves_a_fit_that_ended_alone(end: str) -> None:
    """The thread of the sanity check goes when the fit's begins, and that one with the fit."""
    trainer: Any = SimpleNamespace(global_rank=0, current_epoch=0)
    others = set(threading.enumerate())
    watchdog = Counting()
    watchdog.on_sanity_check_start(trainer, None)
    watchdog.on_train_start(trainer, None)
    time.sleep(0.2)
    (thread,) = set(threading.enumerate()) - others
    assert thread.name == "watchdog"
    if end == "on_train_end":
        watchdog.on_train_end(trainer, None)
    else:
        watchdog.on_exception(trainer, None, ValueError("of the fit"))
    time.sleep(1)
    assert not thread.is_alive()
    assert not watchdog.given_up


@pytest.mark.parametrize("minutes", [0, -1.0])
def test_watchdog_refuses_no_time_at_all(minutes: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Watchdog(minutes=minutes)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[pair.cc:534] Connection closed by peer [127.0.0.1]", "another rank"),
        ("Timed out waiting 1200000ms for recv operation to complete", "another rank"),
        ("DataLoader timed out after 600 seconds", "loader worker"),
        ("DataLoader worker (pid 7) is killed by signal: Killed.", "loader worker"),
        ("mat1 and mat2 shapes cannot be multiplied", None),
    ],
)
def test_errors_about_other_processes_are_explained(text: str, sentence: str | None) -> None:
    found = explain(RuntimeError(text))
    assert (found is None) == (sentence is None)
    assert (sentence or "") in (found or "")
    assert explain(ValueError(text)) is None


def test_cluster_layer_bounds_the_wait_for_other_ranks() -> None:
    text = (PROJECT_ROOT / "configs" / "override" / "cluster.yaml").read_text()
    strategy = yaml.safe_load(text)["trainer"]["strategy"]
    assert strategy["class_path"].endswith(DDPStrategy.__name__)
    assert re.fullmatch(r"0:[1-5]\d:00", strategy["init_args"]["timeout"])
