"""Where `--ckpt_path last` goes on, which run it is, and what may have changed."""

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import PROJECT_ROOT

from datamodules.data_spec import DataSpec
from datamodules.errors import StorageError, UserError
from datamodules.storage import transient
from datamodules.storage.transient import WAITS
from lightning_modules.checkpoints import open_checkpoint
from lightning_modules.cli import main
from lightning_modules.resume import checkpoint_io
from lightning_modules.resume.changed_settings import (
    changes_since,
    refuse_changed_settings,
    refuse_other_network,
)
from lightning_modules.resume.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from lightning_modules.resume.resume_point import find_resume_point
from lightning_modules.runs.folder import (
    LAST,
    PREVIOUS,
    RunIdentity,
    RunSettings,
    choose_run_folder,
    identify_run,
    names_in,
    newest_version,
    read_identity,
)
from lightning_modules.training.initialization import initialize
from models import get_model
from models.weights_file import read_weights_file


def save(folder: Path, name: str, step: int, run: str = "abc") -> None:
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    content = {
        "module": "lightning_modules.CoSTModule",
        "global_step": step,
        "epoch": 0,
        "run": {"id": run},
        "weights": torch.full((20,), 7.5),
    }
    torch.save(content, folder / "checkpoints" / name)


def damage(folder: Path, name: str) -> None:
    path = folder / "checkpoints" / name
    path.write_bytes(path.read_bytes()[:100])


def flip_bit(path: Path) -> None:
    """Flip one bit of a weight, at which torch does not look."""
    content = bytearray(path.read_bytes())
    content[content.index(np.full(20, 7.5, np.float32).tobytes()) + 3] ^= 1
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with its three checkpoints."""
    run = tmp_path / "name" / "3"
    for name, step in ((LAST, 9), (PREVIOUS, 8), ("best.ckpt", 4)):
        save(run, name, step)
    (run / "run.json").write_text('{"id": "abc", "resume_count": 1}')
    return run


def found_step(folder: Path) -> int:
    found = find_resume_point(folder)
    assert found is not None
    assert found[0].exists()
    return int(found[1]["global_step"])


def test_newest_checkpoint_is_taken_and_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found_step(folder) == 9
    path = folder / "checkpoints" / LAST
    printed = capsys.readouterr().out
    assert printed == (
        f"resuming from {path}: the newest checkpoint of the run (step 9, epoch 0)\n"
    )


def test_damaged_newest_falls_back_loudly(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(folder, LAST)
    assert found_step(folder) == 8
    printed = capsys.readouterr().out
    assert f"WARNING: {folder / 'checkpoints' / LAST} is damaged" in printed
    assert "the one before the newest (step 8, epoch 0, last.ckpt is damaged)" in printed
    assert (folder / "checkpoints" / "last.ckpt.damaged").exists()
    damage(folder, PREVIOUS)
    assert found_step(folder) == 4


def test_run_without_a_good_checkpoint_is_refused(folder: Path) -> None:
    for name in (LAST, PREVIOUS, "best.ckpt"):
        damage(folder, name)
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be used \(last.ckpt is damaged"):
        find_resume_point(folder)
    assert find_resume_point(folder.parent / "4") is None


def test_damaged_files_alone_start_nothing_anew(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command, given again and again, touches nothing; nor does it take another folder."""
    (folder / "metrics.csv").write_text("step,train/loss\n0,1.5\n")
    for name in (LAST, PREVIOUS, "best.ckpt"):
        damage(folder, name)
    words = ["fit", "--config", str(PROJECT_ROOT / "configs" / "quickstart.yaml")]
    words += [f"--run.folder={folder.parents[1]}", "--run.name=name", "--ckpt_path=last"]
    for version in ([], ["--run.version=3"]):
        with pytest.raises(SystemExit, match="2"):
            main([*words, *version])
        assert "no checkpoint in" in (said := capsys.readouterr().err)
        assert "put a good copy there" in said
    assert names_in(folder.parent) == ["3"]
    assert names_in(folder / "checkpoints") == [
        f"{name}.damaged" for name in sorted([LAST, PREVIOUS, "best.ckpt"])
    ]
    assert (folder / "metrics.csv").read_text() == "step,train/loss\n0,1.5\n"
    save(folder, PREVIOUS, 8)
    assert found_step(folder) == 8


FAULTS = [
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.ESTALE, "Stale file handle"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("times", [2, 99])
def test_disk_that_fails_is_waited_for_and_damages_nothing(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Exception,
    times: int,
) -> None:
    waits: list[float] = []
    failures = [fault] * times

    def read(path: Path) -> Any:
        if failures:
            raise failures.pop()
        return read_weights_file(path)

    monkeypatch.setattr(checkpoint_io, "read_weights_file", read)
    monkeypatch.setattr(transient, "sleep", waits.append)
    if times < len(WAITS):
        assert found_step(folder) == 9
        assert waits == list(WAITS[:times])
        assert "trying again in 0.2 s (attempt 1 of 5)" in capsys.readouterr().out
    else:
        with pytest.raises(StorageError, match=r"last.ckpt cannot be read at the moment \("):
            find_resume_point(folder)
        assert waits == list(WAITS)
    assert names_in(folder / "checkpoints") == ["best.ckpt", LAST, PREVIOUS]


def test_folder_that_cannot_be_listed_is_not_empty(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(transient, "sleep", lambda seconds: None)
    monkeypatch.setattr(os, "listdir", fail)
    settings = RunSettings(name="name", version="3", folder=str(folder.parents[1]))
    for ask in (partial(find_resume_point, folder), partial(choose_run_folder, settings, False)):
        with pytest.raises(StorageError, match="nobody knows what the run holds"):
            ask()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: fail())
    with pytest.raises(StorageError, match=r"run.json cannot be read at the moment"):
        identify_run(folder, None)


def test_flipped_bit_is_not_resumed_from(folder: Path) -> None:
    path = folder / "checkpoints" / LAST
    flip_bit(path)
    assert torch.load(path, weights_only=True)["weights"].max() != 7.5
    assert found_step(folder) == 8
    assert (folder / "checkpoints" / "last.ckpt.damaged").exists()


@pytest.mark.parametrize(
    "read",
    [
        read_checkpoint,  # fit, validate and test
        AtomicCheckpointIO().load_checkpoint,  # the trainer
        open_checkpoint,  # predict
        lambda path: initialize(get_model("c2d_tiny", 2), str(path), [], DataSpec()),  # init_from
    ],
)
def test_flipped_bit_is_refused_wherever_it_is_read(
    folder: Path, read: Callable[[Path], object]
) -> None:
    path = folder / "checkpoints" / LAST
    flip_bit(path)
    with pytest.raises(UserError, match=r"last.ckpt is damaged \(last/data/0 is not what was"):
        read(path)


def test_file_that_is_no_checkpoint_is_left_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weight": torch.zeros(1)}, folder / "checkpoints" / LAST)
    assert found_step(folder) == 8
    assert "is not a checkpoint of a fit of this project" in capsys.readouterr().out
    assert (folder / "checkpoints" / LAST).exists()


def test_file_of_another_run_is_left_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(folder, LAST, 99, run="other")
    (folder / "hpc_ckpt_7.ckpt").write_text("of another job")
    assert found_step(folder) == 8
    assert "it belongs to run other" in capsys.readouterr().out
    assert (folder / "checkpoints" / LAST).exists()


def test_run_of_which_only_the_previous_is_left_is_found(tmp_path: Path) -> None:
    save(tmp_path / "name" / "0", LAST, 1)
    save(tmp_path / "name" / "1", PREVIOUS, 1)
    assert newest_version(RunSettings(name="name", folder=str(tmp_path))) == "1"


def test_identity_is_made_once_and_resumes_are_counted(tmp_path: Path) -> None:
    first = identify_run(tmp_path, None)
    assert first.resume_count == 0
    assert len(first.id) == 8
    assert [identify_run(tmp_path, None) for _ in range(2)][1] == RunIdentity(first.id, 2)
    (tmp_path / "run.json").unlink()
    kept: dict[str, Any] = {"run": {"id": "kept", "resume_count": 4}}
    assert identify_run(tmp_path, kept) == RunIdentity("kept", 5) == read_identity(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        identify_run(tmp_path, None)


def test_changes_are_named(tmp_path: Path) -> None:
    before = {"trainer": {"max_epochs": 2, "devices": 1}, "run": {"version": None}, "gone": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(before))
    now = {"trainer": {"max_epochs": 3, "devices": 1}, "run": {"version": "0"}, "new": 1}
    assert changes_since(tmp_path / "config.yaml", now) == ["trainer.max_epochs: 2 -> 3"]
    assert changes_since(tmp_path / "none.yaml", now) == []


def test_secrets_are_no_change_and_are_not_named(tmp_path: Path) -> None:
    shown = {"trainer": {"callbacks": [{"init_args": {"api_key": "(not stored)"}}]}, "lr": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(shown))
    now = {"trainer": {"callbacks": [{"init_args": {"api_key": "SESAME"}}]}, "lr": 1}
    assert changes_since(tmp_path / "config.yaml", now) == []
    trained = {"metrics": [{"n": 1}], "lr": 1}
    refuse_changed_settings(trained, {"metrics": [{"n": 1, "token": "SESAME"}], "lr": 1})


def test_other_network_is_refused_by_name() -> None:
    one = {"a": torch.zeros(2, 3), "b": torch.zeros(())}
    refuse_other_network(one, dict(one))
    other = {"a": torch.zeros(4, 3), "c": torch.zeros(1)}
    with pytest.raises(
        ValueError, match=r"3 weights differ, such as a \(2x3, now 4x3\), b \(scalar, now none\)"
    ):
        refuse_other_network(one, other)


@pytest.mark.parametrize("key", ["save_every_steps", "save_every_minutes"])
def test_interval_of_saves_is_checked(key: str) -> None:
    with pytest.raises(ValueError, match=rf"run\.{key}=0 is not possible"):
        RunSettings(**{key: 0})
