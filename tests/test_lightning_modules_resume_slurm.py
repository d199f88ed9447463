"""The batch script on a real Slurm of one node; see `slurm_node` for what has to be installed."""

import csv
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT_ROOT
from slurm_node import SlurmNode, find_daemons, wait_for

pytestmark = pytest.mark.slurm

TINY_DATA = [
    "--data.num_train=64", "--data.num_val=16", "--data.num_test=16", "--data.loading.batch_size=8",
    "--data.loading.num_workers=1", "--data.sampling.num_frames=8",
    "--data.sampling.frame_stride=2",
    "--data.crops.size=32", "--data.crops.short_side=32",
]  # fmt: skip
TINY = [
    "--config", "configs/quickstart.yaml", "--config", "configs/override/debug.yaml", *TINY_DATA,
    "--trainer.limit_train_batches=1.0", "--trainer.limit_val_batches=1.0",
    "--trainer.num_sanity_val_steps=1", "--trainer.max_epochs=4",
    "--trainer.logger=true", "--trainer.log_every_n_steps=1",
    "--model.optimization.ema_decay=0.9", "--model.dropout=0.2", "--run.name=job",
]  # fmt: skip
"""Four epochs of four steps on two ranks."""


@pytest.fixture(scope="module")
def node() -> Iterator[SlurmNode]:
    daemons = find_daemons()
    if daemons is None:
        pytest.skip("no Slurm here; install slurmctld, slurmd, the Slurm client and munge")
    # sockets want a short path
    with (
        tempfile.TemporaryDirectory(prefix="slurm") as folder,
        SlurmNode(Path(folder), daemons) as node,
    ):
        node.environment |= {
            "KINETOSCOPE": f"{sys.executable} -m lightning_modules",
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
            "WANDB_MODE": "offline",
        }
        yield node


class Job:
    """A fit on two ranks by `configs/slurm/single_node.sbatch`."""

    def __init__(self, node: SlurmNode, runs: Path, root: Path) -> None:
        script = str(PROJECT_ROOT / "configs" / "slurm" / "single_node.sbatch")
        machine = ["--gpus-per-node=0", "--ntasks-per-node=2", "--cpus-per-task=1", "--exclusive"]
        machine += [f"--chdir={PROJECT_ROOT}", "--partition=low", f"--output={runs}/%j.out"]
        data = [f"--data.root={root}", f"--run.folder={runs}"]
        self.id = node.submit(*machine, script, *TINY, *data)
        self.node = node
        self.folder = runs / "job" / self.id
        self.output = runs / f"{self.id}.out"

    def rows(self) -> list[dict[str, str]]:
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        with path.open() as file:
            return list(csv.DictReader(file))

    def steps(self) -> int:
        """Steps whose loss was logged, at least."""
        return max((int(row["step"]) for row in self.rows() if row.get("train/loss")), default=-1)

    def wait_for_step(self, step: int) -> None:
        wait_for(lambda: self.steps() >= step, f"step {step} of job {self.id}", 600)

    def wait_for_requeue(self) -> dict[str, str]:
        return self.node.wait_until(self.id, "PENDING", seconds=200)

    def finish(self) -> None:
        self.node.start_now(self.id)
        self.node.wait_until(self.id, "COMPLETED", "FAILED", "TIMEOUT", seconds=600)
        assert self.node.job(self.id)["JobState"] == "COMPLETED", self.output.read_text()[-3000:]

    def saved_step(self) -> int:
        content = torch.load(self.folder / "checkpoints" / "last.ckpt", weights_only=True)
        step: int = content["global_step"]
        return step

    def end(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Both sets of weights, and the last validation."""
        content = torch.load(self.folder / "checkpoints" / "last.ckpt", weights_only=True)
        weights = {"average": content["state_dict"], "trained": content["current_model_state"]}
        row = [row for row in self.rows() if row.get("val/top1")][-1]
        return weights, {name: row[name] for name in ("step", "val/top1", "val/loss")}


@pytest.fixture(scope="module")
def jobs(motion_root: Path, node: SlurmNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def unbroken(node: SlurmNode, jobs: Path, motion_root: Path) -> Job:
    job = Job(node, jobs, motion_root)
    job.finish()
    return job


def assert_same_end(job: Job, unbroken: Job) -> None:
    weights, metrics = job.end()
    expected, expected_metrics = unbroken.end()
    assert metrics == expected_metrics
    for kind, state in expected.items():
        for name, value in state.items():
            assert torch.equal(value, weights[kind][name]), (kind, name)


@pytest.mark.one_slow_case
def test_job_near_its_time_limit_is_requeued_and_ends_like_an_unbroken_one(
    node: SlurmNode, jobs: Path, motion_root: Path, unbroken: Job
) -> None:
    job = Job(node, jobs, motion_root)
    job.wait_for_step(2)
    node.ask("scancel", "--signal=USR1", job.id)
    assert job.wait_for_requeue()["Restarts"] == "1"
    assert f"Slurm job {job.id} is requeued" in job.output.read_text()
    job.finish()
    assert_same_end(job, unbroken)
    ids = {path.name.rsplit("-", 1)[1] for path in (job.folder / "wandb").glob("offline-run-*")}
    assert len(ids) == 1
    assert len(list((job.folder / "wandb").glob("offline-run-*"))) == 2


def test_preempted_job_is_requeued_and_loses_no_step(
    node: SlurmNode, jobs: Path, motion_root: Path, unbroken: Job
) -> None:
    job = Job(node, jobs, motion_root)
    job.wait_for_step(4)
    before = job.steps()
    began = time.monotonic()
    other = node.submit("--partition=high", "--exclusive", "--output=/dev/null", "--wrap=true")
    state = job.wait_for_requeue()
    assert time.monotonic() - began < 100  # long before the grace time of 120 s is over
    assert state["Restarts"] == "1"
    assert job.saved_step() >= before + 1
    assert "CANCELLED" not in job.output.read_text().split("DUE TO JOB REQUEUE")[1]
    node.wait_until(other, "COMPLETED")
    job.finish()
    assert_same_end(job, unbroken)


@pytest.mark.parametrize(
    ("place", "signal"),
    [
        ("imports", "preemption"),
        ("imports", "USR1"),
        ("data", "USR1"),
        ("W&B", "preemption"),
        ("sanity check", "USR1"),
        ("first batch", "preemption"),
    ],
)
def test_job_that_is_stopped_as_it_starts_is_requeued(
    place: str,
    signal: str,
    node: SlurmNode,
    jobs: Path,
    motion_root: Path,
    unbroken: Job,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = f"{sys.executable} {PROJECT_ROOT / 'tests' / 'waiting_start.py'}"
    monkeypatch.setitem(node.environment, "KINETOSCOPE", command)
    monkeypatch.setitem(node.environment, "WAIT_AT", place)
    monkeypatch.setitem(node.environment, "WAIT_MARK", str(tmp_path / "mark"))
    job = Job(node, jobs, motion_root)
    ranks = 1 if place == "W&B" else 2
    wait_for(lambda: len(list(tmp_path.glob("mark*"))) == ranks, f"{place} of job {job.id}", 200)
    if signal == "USR1":
        node.ask("scancel", "--signal=USR1", job.id)
    else:
        other = node.submit("--partition=high", "--exclusive", "--output=/dev/null", "--wrap=true")
    assert job.wait_for_requeue()["Restarts"] == "1"
    said = job.output.read_text()
    assert f"Slurm job {job.id} is requeued" in said
    assert "Traceback" not in said
    has_begun = place in ("sanity check", "first batch")
    assert has_begun == ((job.folder / "checkpoints" / "last.ckpt").exists())
    if signal == "preemption":
        node.wait_until(other, "COMPLETED")
    job.finish()
    assert_same_end(job, unbroken)


def test_cancelled_job_saves_and_stays_cancelled(
    node: SlurmNode, jobs: Path, motion_root: Path
) -> None:
    job = Job(node, jobs, motion_root)
    job.wait_for_step(1)
    node.ask("scancel", job.id)
    assert node.wait_until(job.id, "CANCELLED", "PENDING")["JobState"] == "CANCELLED"
    assert job.saved_step() > 1
    assert "was cancelled, so it is not requeued" in job.output.read_text()


def test_mistakes_end_with_a_sentence(node: SlurmNode, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    call = f"{sys.executable} -m lightning_modules fit {' '.join(TINY)} --run.folder={tmp_path}"
    for number, (words, command, sentence) in enumerate(
        (
            (["--ntasks-per-node=2"], call, "write `srun kinetoscope ...`"),
            (["--ntasks=2"], f"srun {call} --trainer.devices=2", "ask for --ntasks-per-node"),
            (["--ntasks-per-node=2"], f"srun {call}", "--trainer.devices=2"),
        )
    ):
        output = tmp_path / f"{number}.out"
        script.write_text(f"#!/bin/bash\ncd {PROJECT_ROOT}\n{command}\n")
        job = node.submit(*words, f"--output={output}", str(script))
        assert node.wait_until(job, "FAILED", "COMPLETED")["JobState"] == "FAILED"
        assert sentence in output.read_text(), output.read_text()[-2000:]
        assert node.job(job)["ExitCode"] == "2:0"


def submit_shipped(node: SlurmNode, folder: Path, name: str, *words: str) -> Callable[[], None]:
    """Submit a script of `configs/slurm`, an array as two tasks; what waits for its good end."""
    script = PROJECT_ROOT / "configs" / "slurm" / f"{name}.sbatch"
    machine = ["--cpus-per-task=1", f"--chdir={PROJECT_ROOT}", f"--output={folder}/{name}_%a.out"]
    is_array = "#SBATCH --array" in script.read_text()
    machine += ["--array=0-1"] if is_array else []
    if "#SBATCH --gpus-per-node" in script.read_text():
        machine += ["--gpus-per-node=0", f"--ntasks-per-node={1 if is_array else 2}"]
    job = node.submit(*machine, str(script), *words)

    def wait() -> None:
        for task in [f"{job}_0", f"{job}_1"] if is_array else [job]:
            state = node.wait_until(task, "COMPLETED", "FAILED", seconds=600)["JobState"]
            said = "".join(path.read_text()[-3000:] for path in folder.glob(f"{name}_*.out"))
            assert state == "COMPLETED", f"{name}, task {task}: {said}"

    return wait


def test_every_other_script_does_its_work(
    node: SlurmNode, tmp_path: Path, motion_root: Path
) -> None:
    pytest.importorskip("cv2", reason="needs the extra `flow`")
    clips, data = motion_root / "test", f"--data.root={motion_root}"
    small = ["--short_side=64", "--method=dis", "--storage=jpeg"]
    config = ["--config", "configs/data/motion_shapes.yaml", data, *TINY_DATA, "--measure=0"]
    seeds = [*TINY, data, f"--run.folder={tmp_path}", "--trainer.max_epochs=1"]
    waits = [
        submit_shipped(node, tmp_path, "pack", str(clips), f"{tmp_path}/pack", "--shard_mb=0.05"),
        submit_shipped(node, tmp_path, "flow", str(clips), f"{tmp_path}/flow", *small),
        submit_shipped(node, tmp_path, "doctor", *config, f"--out={tmp_path}/doctor"),
        submit_shipped(node, tmp_path, "seeds", *seeds),
    ]
    for wait in waits:
        wait()
    assert (tmp_path / "pack" / "index" / "about.json").is_file()
    assert len(list((tmp_path / "pack" / "shards").glob("shard-*.tar"))) > 3
    assert len(list((tmp_path / "flow").rglob("flow.json"))) == 16
    found = json.loads((tmp_path / "doctor" / "findings.json").read_text())
    assert [split["decoded"] for split in found["splits"]] == [64, 16, 16]
    runs = sorted((tmp_path / "job").iterdir())
    assert [run.name.split("_")[1] for run in runs] == ["0", "1"]
    files = [run / "checkpoints" / "last.ckpt" for run in runs]
    first, second = (torch.load(file, weights_only=True)["state_dict"] for file in files)
    assert any(not torch.equal(value, second[name]) for name, value in first.items())
    assert len({(run / "run.json").read_text() for run in runs}) == 2
    words = [f"--config={runs[1]}/config.yaml", f"--ckpt_path={files[1]}", "--trainer.logger=false"]
    submit_shipped(node, tmp_path, "test", *words)()
    with np.load(runs[1] / "scores_test_1x1.npz") as scores:
        assert len(set(scores["video_ids"].tolist())) == len(scores["labels"]) == 16
        assert json.loads(str(scores["protocol"]))["seed"] == 1


def submit_script(node: SlurmNode, folder: Path, name: str, *commands: str) -> tuple[str, Path]:
    """Submit a job of one task that runs commands one after the other; its id and output."""
    script, output = folder / f"{name}.sh", folder / f"{name}.out"
    script.write_text("\n".join(["#!/bin/bash", f"cd {PROJECT_ROOT}", *commands]) + "\n")
    return node.submit("--ntasks-per-node=1", f"--output={output}", str(script)), output


def single_fit(folder: Path, root: Path, *more: str) -> str:
    """The command of a fit on one device that goes on where it stopped."""
    words = [*TINY, f"--data.root={root}", f"--run.folder={folder}", "--trainer.devices=1"]
    words += ["--config", "configs/override/cluster.yaml", "--trainer.accelerator=cpu", *more]
    return f"srun {sys.executable} -m lightning_modules fit {' '.join(words)}"


def test_loop_over_seeds_in_one_job_is_refused_by_name(
    node: SlurmNode, tmp_path: Path, motion_root: Path
) -> None:
    one = ["--trainer.max_epochs=1", "--trainer.logger=false"]
    fits = [single_fit(tmp_path, motion_root, *one, f"--seed_everything={s}") for s in (1, 2)]
    job, output = submit_script(node, tmp_path, "seeds", f"{fits[0]} && echo FIRST", fits[1])
    assert node.wait_until(job, "FAILED", "COMPLETED")["ExitCode"] == "2:0"
    printed = output.read_text()
    assert "FIRST" in printed
    assert "is finished (1 epochs, 8 steps)" in printed
    assert "seed_everything: 1 -> 2; give each run its own --run.name" in printed


def test_second_job_in_a_run_folder_is_refused_until_the_first_is_killed(
    node: SlurmNode, tmp_path: Path, motion_root: Path
) -> None:
    more = ["--run.version=a", "--run.save_every_steps=1", "--trainer.max_epochs=1000"]
    command = single_fit(tmp_path, motion_root, *more)
    first, _ = submit_script(node, tmp_path, "first", command)
    wait_for((tmp_path / "job/a/checkpoints/last.ckpt").exists, "the first steps", 300)
    second, output = submit_script(node, tmp_path, "second", command)
    assert node.wait_until(second, "FAILED", "COMPLETED")["ExitCode"] == "2:0"
    assert f"Slurm job {first}, since" in output.read_text()
    node.ask("scancel", "--signal=KILL", "--full", first)
    node.wait_until(first, "FAILED", "COMPLETED", "CANCELLED")
    third, output = submit_script(node, tmp_path, "third", command)
    wait_for(lambda: output.exists() and "GMACs" in output.read_text(), "the third job", 300)
    assert "resuming from" in output.read_text()
    node.ask("scancel", "--signal=KILL", "--full", third)
