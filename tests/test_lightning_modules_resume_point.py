"""Where `--ckpt_path last` goes on, which run it is, and what may have changed."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_modules.resume.changed_settings import (
    changes_since,
    refuse_changed_settings,
    refuse_other_network,
)
from lightning_modules.resume.resume_point import find_resume_point
from lightning_modules.runs.folder import (
    LAST,
    PREVIOUS,
    RunIdentity,
    RunSettings,
    identify_run,
    newest_version,
    read_identity,
)


def save(folder: Path, name: str, step: int, run: str = "abc") -> None:
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    content = {
        "module": "lightning_modules.CoSTModule",
        "global_step": step,
        "epoch": 0,
        "run": {"id": run},
    }
    torch.save(content, folder / "checkpoints" / name)


def damage(folder: Path, name: str) -> None:
    path = folder / "checkpoints" / name
    path.write_bytes(path.read_bytes()[:100])


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
