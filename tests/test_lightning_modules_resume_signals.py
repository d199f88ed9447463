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

import pytest
import yaml
from conftest import PROJECT_ROOT
from lightning.pytorch.strategies import DDPStrategy

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
    "environ",
    [
        {},
        BATCH,
        STEP,
        {**BATCH, "SLURM_NTASKS": "1"},
        {**BATCH, "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "interactive"},
    ],
    ids=["no Slurm", "one task", "srun", "one task said", "shell"],
)
def test_sound_jobs_are_accepted(environ: dict[str, str]) -> None:
    slurm.check_step(environ)


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


def test_watchdog_ends_what_hangs_and_says_where() -> None:
    began = time.monotonic()
    command = [sys.executable, "-c", HANGING]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done.stderr
    assert "rank 1 has been loading the batch after batch 5 of epoch 3" in done.stderr
    assert "in decode" in done.stderr
    assert time.monotonic() - began < 60


def test_watchdog_leaves_a_fit_that_ended_alone() -> None:
    watchdog = Watchdog(minutes=0.001)
    watchdog._ended = threading.Event()
    watchdog.on_train_end(None, None)  # type: ignore[arg-type]
    watchdog._wait(watchdog._ended, 0)
    with pytest.raises(ValueError, match="more than 0"):
        Watchdog(minutes=0)


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
    assert (sentence in found) if sentence and found else found is None
    assert explain(ValueError(text)) is None


def test_cluster_layer_bounds_the_wait_for_other_ranks() -> None:
    text = (PROJECT_ROOT / "configs" / "override" / "cluster.yaml").read_text()
    strategy = yaml.safe_load(text)["trainer"]["strategy"]
    assert strategy["class_path"].endswith(DDPStrategy.__name__)
    assert re.fullmatch(r"0:[1-5]\d:00", strategy["init_args"]["timeout"])


@pytest.mark.parametrize("name", ["single_node", "multi_node"])
def test_batch_scripts_ask_for_what_a_requeue_needs(name: str) -> None:
    path = PROJECT_ROOT / "configs" / "slurm" / f"{name}.sbatch"
    text = path.read_text()
    for word in ("--requeue", "--signal=USR1@", "--open-mode=append", "--ntasks-per-node"):
        assert f"#SBATCH {word}" in text
    assert "srun --kill-on-bad-exit=1" in text
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
