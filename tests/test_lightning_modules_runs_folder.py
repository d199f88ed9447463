"""Run folders: numbered, kept over a requeue, never overwritten."""

import os
from dataclasses import asdict
from pathlib import Path

import pytest

from datamodules import UserError
from lightning_modules.runs.folder import (
    KEY,
    VERSION_VARIABLE,
    RunIdentity,
    RunSettings,
    choose_run_folder,
    folder_of_checkpoint,
    folder_of_run,
    identify_run,
    read_identity,
    refuse_other_run,
)


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(VERSION_VARIABLE, "")
    monkeypatch.delenv(VERSION_VARIABLE)


def choose(monkeypatch: pytest.MonkeyPatch, settings: RunSettings, resumes: bool = False) -> Path:
    before = dict(os.environ)
    folder = choose_run_folder(settings, resumes)
    assert dict(os.environ) == before
    return folder


def test_versions_count_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RunSettings(name="a", folder=str(tmp_path))
    (tmp_path / "a" / "7").mkdir(parents=True)
    (tmp_path / "a" / "other").mkdir()
    assert [choose(monkeypatch, settings).name for _ in range(3)] == ["8", "9", "10"]


def test_ranks_inherit_the_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RunSettings(name="a", folder=str(tmp_path))
    first = choose_run_folder(settings, resumes=False)
    monkeypatch.setenv(VERSION_VARIABLE, first.name)
    assert choose_run_folder(settings, resumes=False) == first


def test_slurm_jobs_find_their_folder_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RunSettings(name="a", folder=str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    assert choose(monkeypatch, settings).name == "41"
    assert choose(monkeypatch, settings).name == "41"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert choose(monkeypatch, settings).name == "40_3"


def test_a_run_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RunSettings(name="a", version="x", folder=str(tmp_path))
    folder = choose(monkeypatch, settings)
    (folder / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="already holds a run"):
        choose(monkeypatch, settings)
    assert choose(monkeypatch, settings, resumes=True) == folder


def test_run_is_not_continued_in_the_folder_of_another(tmp_path: Path) -> None:
    own, other = identify_run(tmp_path, None), RunIdentity("another1")
    kept = {run.id: {KEY: asdict(run)} for run in (own, other)}
    refuse_other_run(tmp_path, kept[other.id], "x.ckpt")  # nothing was saved there
    (tmp_path / "checkpoints").mkdir()
    refuse_other_run(tmp_path, kept[other.id], "x.ckpt")

    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(UserError, match=r"holds another run than that of x\.ckpt"):
        refuse_other_run(tmp_path, kept[other.id], "x.ckpt")
    refuse_other_run(tmp_path, kept[own.id], "a copy of its own.ckpt")


def test_launched_ranks_need_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ValueError, match=r"give --run\.version"):
        choose(monkeypatch, RunSettings(name="a", folder=str(tmp_path)))


def test_checkpoint_belongs_to_the_folder_above(tmp_path: Path) -> None:
    assert folder_of_checkpoint(tmp_path / "a" / "checkpoints" / "best.ckpt") == tmp_path / "a"
    assert folder_of_checkpoint(tmp_path / "best.ckpt") == tmp_path


def test_run_of_a_sweep_has_the_sweeps_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("WANDB_SWEEP_ID", "swp")
    monkeypatch.setenv("WANDB_RUN_ID", "ofsweep1")
    settings = RunSettings(folder=str(tmp_path))
    folder = choose(monkeypatch, settings)
    assert folder == tmp_path / "unnamed" / "ofsweep1"
    first = identify_run(folder, None)
    assert first == read_identity(folder) == RunIdentity("ofsweep1")
    assert choose(monkeypatch, settings, resumes=True) == folder
    assert identify_run(folder, None) == RunIdentity("ofsweep1", 1)
    monkeypatch.setenv("WANDB_RUN_ID", "ofsweep2")
    assert folder_of_run(settings) == tmp_path / "unnamed" / "ofsweep2"
    with pytest.raises(UserError, match=r"holds the run ofsweep1, and the sweep .* ofsweep2"):
        identify_run(folder, None)
    monkeypatch.delenv("WANDB_SWEEP_ID")  # a requeue without the sweep's agent
    assert identify_run(folder, None) == RunIdentity("ofsweep1", 2)
