"""metrics.csv grows and never loses a line; W&B is online only where the user is logged in."""

import csv
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import PROJECT_ROOT
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.sdk.mailbox import MailboxClosedError

from datamodules.errors import StorageError, UserError
from lightning_modules.runs import tensorboard
from lightning_modules.runs.folder import RunIdentity, RunSettings
from lightning_modules.runs.loggers import MetricsFile, loggers_of_run
from lightning_modules.runs.tensorboard import TensorBoard
from lightning_modules.runs.wandb_runs import (
    RunLogger,
    logged_in_to_wandb,
    logger_of_run,
    outlive_service,
)


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_that_appear_later_add_columns(tmp_path: Path) -> None:
    logger = MetricsFile(tmp_path)
    logger.log_metrics({"a": 1.5}, step=0)
    logger.log_metrics({"a": 2.0, "b": 3.0}, step=1)
    logger.log_metrics({"b": 4.0}, step=2)
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "0", "a": "1.5", "b": ""},
        {"step": "1", "a": "2.0", "b": "3.0"},
        {"step": "2", "a": "", "b": "4.0"},
    ]


def test_resumed_run_goes_on_with_its_metrics(tmp_path: Path) -> None:
    MetricsFile(tmp_path).log_metrics({"a": 1.0}, step=0)
    MetricsFile(tmp_path).log_metrics({"a": 2.0, "c": 5.0}, step=1)
    assert [row["a"] for row in rows(tmp_path / "metrics.csv")] == ["1.0", "2.0"]


def test_lines_after_a_checkpoint_are_forgotten(tmp_path: Path) -> None:
    logger = MetricsFile(tmp_path)
    assert logger.num_lines == 0
    for step in range(3):
        logger.log_metrics({"a": float(step)}, step=step)
    assert logger.num_lines == MetricsFile(tmp_path).num_lines == 3
    resumed = MetricsFile(tmp_path)
    resumed.keep_lines(5)
    resumed.keep_lines(1)
    resumed.log_metrics({"b": 7.0}, step=1)
    assert resumed.num_lines == 2
    assert [row["a"] for row in rows(tmp_path / "metrics.csv")] == ["0.0", ""]


def test_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    logger = MetricsFile(tmp_path)
    logger._columns, logger._num_lines = ["step", "a"], 0  # it cannot be read to its end
    with pytest.raises(StorageError, match=r"metrics\.csv cannot be written \(No space left on de"):
        logger.log_metrics({"a": 1.0}, step=0)


class Rows:
    """Stands in for a W&B run."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, row: dict[str, float], step: int) -> None:
        self.rows.append((step, row))


def test_wandb_steps_are_the_trainers_and_never_turn_back(tmp_path: Path) -> None:
    logged = Rows()
    logger = RunLogger(experiment=logged, save_dir=tmp_path)
    for step in (3, 4, 3):
        logger.log_metrics({"a": 1.0}, step)
    assert [step for step, _ in logged.rows] == [3, 4, 4]
    assert logged.rows[1][1] == {"a": 1.0, "trainer/global_step": 4, "resumes": 0}


class Failing(Rows):
    """Stands in for a W&B run that fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def log(self, row: dict[str, float], step: int) -> None:
        self.rows.append((step, row))
        raise self.error


def losable(error: Exception, tmp_path: Path, stopping: bool = False) -> tuple[RunLogger, Failing]:
    run = Failing(error)
    logger = RunLogger(experiment=run, save_dir=tmp_path)
    outlive_service(logger, stopping=lambda: stopping)
    return logger, run


@pytest.mark.parametrize(
    ("error", "stopping"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ConnectionResetError("Connection lost"), False),
        (MailboxClosedError(), False),
        (wandb.errors.CommError("no answer"), True),
    ],
)
def test_a_lost_wandb_is_said_once_and_asked_no_more(
    error: Exception, stopping: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger, run = losable(error, tmp_path, stopping)
    for step in range(2):
        logger.log_metrics({"a": 1.0}, step)
    logger.log_hyperparams({"lr": 1})
    logger.experiment.summary.update({"a": 1})
    assert len(run.rows) == 1
    assert capsys.readouterr().out.count("the run goes on without it") == 1


@pytest.mark.parametrize("error", [wandb.errors.UsageError("no key"), ValueError("a defect")])
def test_a_mistake_in_wandbs_use_is_no_loss(error: Exception, tmp_path: Path) -> None:
    logger, _ = losable(error, tmp_path)
    with pytest.raises(type(error)):
        logger.log_metrics({"a": 1.0}, 0)


WITHOUT_SERVICE = """
import os, signal, sys, time
from contextlib import suppress
from pathlib import Path
import wandb
from lightning_modules.runs.wandb_runs import RunLogger, finish_wandb, outlive_service

def wandbs_processes():
    ours = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another process may end while it is looked at
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and b"wandb" in (folder / "cmdline").read_bytes():
                ours.append(int(folder.name))
    return ours

logger = RunLogger(save_dir=sys.argv[1], offline=True, settings=wandb.Settings(quiet=True))
outlive_service(logger, stopping=lambda: False)
logger.log_metrics({"a": 1.0}, 0)
ours = wandbs_processes()
assert ours, "W&B has no process of its own"
if sys.argv[2] == "leaving":
    finish_wandb(75)
    assert not wandbs_processes()
    sys.exit(75)
for process in ours:
    os.kill(process, signal.SIGKILL)
time.sleep(1)
for step in range(1, 4):
    logger.log_metrics({"a": 1.0}, step)
    time.sleep(0.5)
finish_wandb()
print("went on")
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds W&B's process in /proc")
def test_a_fit_outlives_wandbs_process(tmp_path: Path) -> None:
    done = without_service(tmp_path, "going on")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("W&B has ended") == 2, done.stdout
    assert "the run goes on without it" in done.stdout
    assert "went on" in done.stdout


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds W&B's process in /proc")
def test_a_job_that_leaves_ends_wandbs_process_first(tmp_path: Path) -> None:
    done = without_service(tmp_path, "leaving")
    assert done.returncode == 75, done.stderr
    assert "Traceback" not in done.stderr


def without_service(folder: Path, what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_SERVICE, str(folder), what]
    environment = {**os.environ, "WANDB_MODE": "offline"}
    environment.pop("WANDB_SERVICE", None)  # of another test's run, in this process
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=PROJECT_ROOT, env=environment
    )


def test_login_is_found_in_environment_and_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not logged_in_to_wandb()
    (tmp_path / "netrc").write_text("machine other.example login user password key\n")
    assert not logged_in_to_wandb()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")
    assert logged_in_to_wandb()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not logged_in_to_wandb()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert logged_in_to_wandb()


RUN, PLAIN = RunIdentity("abcd1234"), RunSettings()


def test_loggers_of_a_config_stand_beside_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_NAME", raising=False)
    folder = tmp_path / "small" / "3"
    folder.mkdir(parents=True)
    assert [type(x) for x in loggers_of_run(folder, RUN, PLAIN, False)] == [MetricsFile]
    for nothing in (None, True):
        metrics, ours = loggers_of_run(folder, RUN, PLAIN, nothing)
        assert (type(metrics), type(ours)) == (MetricsFile, RunLogger)
    own = CSVLogger(tmp_path)
    assert loggers_of_run(folder, RUN, PLAIN, own)[2:] == [own]
    theirs = WandbLogger(project="lab", tags=["a"], group="lr")
    metrics, ours, other = loggers_of_run(folder, RUN, PLAIN, [own, theirs])
    assert ours is theirs
    assert other is own
    assert isinstance(ours, RunLogger)
    assert ours.version == "abcd1234"
    assert ours._wandb_init == {
        "name": "small/3",
        "project": "lab",
        "dir": str(folder),
        "id": "abcd1234",
        "resume": "allow",
        "tags": ["a"],
        "group": "lr",
        "job_type": "fit",
    }
    grouped = RunSettings(group="seeds", tags=("b",), notes="why", job_type="probe")
    first = logger_of_run(None, folder, RUN, grouped)._wandb_init
    words = {name: first[name] for name in ("group", "tags", "notes", "job_type")}
    assert words == {"group": "seeds", "tags": ["b"], "notes": "why", "job_type": "probe"}
    with pytest.raises(UserError, match="names W&B twice"):
        loggers_of_run(folder, RUN, PLAIN, [WandbLogger(), WandbLogger()])


def test_a_sweep_says_what_id_and_project_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "swp")
    monkeypatch.setenv("WANDB_RUN_ID", "ofsweep1")
    logger = logger_of_run(None, tmp_path, RUN, PLAIN)
    assert not {"id", "project", "entity"} & set(logger._wandb_init)


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    found = EventAccumulator(str(folder / "tensorboard")).Reload().Scalars(name)
    return [(point.step, point.value) for point in found]


def test_curves_of_tensorboard_do_not_turn_back_in_a_resumed_run(tmp_path: Path) -> None:
    for steps in (range(4), range(2, 6)):
        logger = TensorBoard()
        logger.place(tmp_path, 0)
        for step in steps:
            logger.log_metrics({"a": 0.5 * step}, step)
        logger.save()
        logger.finalize("success")
    expected = [0, 1, 2, 2, 3, 4, 5]  # at the first step, of whose values some were not logged yet
    assert points(tmp_path, "a") == [(step, 0.5 * step) for step in expected]


def test_absent_tensorboard_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="is not installed; install the extra `tensorboard`"):
        TensorBoard()
