"""docs/python.md: its blocks run one after another, as they stand there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT_ROOT

from lightning_modules import CoSTModule, LabelTable

TEXT = (PROJECT_ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def folder(class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page names."""
    videos = class_folders.rename(tmp_path / "videos")
    for name in ("grow", "move_up", "turn_clockwise"):
        for number, path in enumerate(sorted((videos / name).glob("*.mp4"))):
            path.rename(videos / name / f"{number:05d}.mp4")
    run = tmp_path / "runs" / "mine" / "0"
    run.mkdir(parents=True)
    logits = np.eye(3)[[0, 1, 1]][:, None]
    np.savez(run / "scores_test_5x1.npz", logits=logits, labels=np.array([0, 1, 2]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_page_runs_from_its_first_block_to_its_last(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"block {number} of python.md", "exec"), names)
    assert names["frames"].shape == (3, 3, 64, 64)
    assert torch.equal(names["frames"][1], names["frames"][2])
    assert names["logits"].shape == (1, 3)
    assert names["features"].shape[:2] == (1, names["network"].num_features)
    assert names["item"]["clips"].shape == (1, 3, 4, 32, 32)
    assert names["batch"]["clips"].dtype == torch.float32
    assert 0 <= names["measured"]["test/top1"] <= 1
    assert type(names["trained"]) is CoSTModule
    assert not names["trained"].training
    assert isinstance(names["table"], LabelTable)
    assert "66.67% of 3 videos" in capsys.readouterr().out
