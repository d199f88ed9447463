"""The guide to adding a family, word for word, in a copy of the project."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT_ROOT

GUIDE = (PROJECT_ROOT / "docs" / "adding_a_family.md").read_text(encoding="utf-8")
STEPS = re.findall(r"(?s)`([\w/.]+)`[^`]*?:\n\n```\w+\n(.*?)```", GUIDE)

SCRIPT = """
import glob, sys
from lightning_modules.cli import main
small = ["--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.logger=false"]
small += ["--trainer.enable_progress_bar=false", "--data.root=" + sys.argv[1]]
small += ["--data.crops.size=32", "--data.loading.batch_size=4", "--data.loading.num_workers=0"]
configs = ["--config", "configs/data/video_folder.yaml"]
configs += ["--config", "configs/model/max_tsn_r50.yaml"]
network = ["--model.network=max_tsn_tiny", "--model.init_from=null"]
main(["models", "max_tsn_tiny"])
main(["fit", *configs, *network, *small])
(last,) = glob.glob("runs/*/0/checkpoints/last.ckpt")
main(["test", *configs, *network, *small, "--ckpt_path", last])
main(["predict", "--ckpt_path", last, "--top=3", "--out=labels.csv", sys.argv[1]])
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's packages and configs, with the family added as the guide says."""
    for name in ("models", "datamodules", "lightning_modules", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT_ROOT / name, tmp_path / name, ignore=ignored)
    for place, text in STEPS:
        path = tmp_path / place
        if not path.exists():
            path.write_text(text, encoding="utf-8")
        elif path.suffix == ".pyi":
            path.write_text(path.read_text() + text, encoding="utf-8")
        else:
            line = '    "tsn": ('
            assert path.read_text().count(line) == 1
            path.write_text(path.read_text().replace(line, text + line), encoding="utf-8")
    return tmp_path


def test_readme_names_five_places() -> None:
    assert [place for place, _ in STEPS] == [
        "models/max_tsn.py",
        "models/registry.py",
        "lightning_modules/max_tsn.py",
        "lightning_modules/__init__.pyi",
        "configs/model/max_tsn_r50.yaml",
    ]


@pytest.mark.slow
@pytest.mark.one_slow_case
def test_added_family_trains_tests_and_predicts(copy: Path, class_folders: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(class_folders)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "max_tsn_tiny" in done.stdout
    (scores,) = copy.glob("runs/*/0/scores_*.npz")
    with np.load(scores) as file:
        tested = dict(file)
    assert '"network": "max_tsn_tiny"' in str(tested["protocol"])
    table = (copy / "labels.csv").read_text(encoding="utf-8").splitlines()
    rows = {row["video"]: row for row in csv.DictReader(table)}
    shares = np.exp(tested["logits"][:, 0])
    shares /= shares.sum(1, keepdims=True)
    names = tested["class_names"].tolist()
    for video, expected in zip(tested["video_ids"].tolist(), shares, strict=True):
        row = rows[str(class_folders / video)]
        told = {row[f"class_{i}"]: float(row[f"probability_{i}"]) for i in (1, 2, 3)}
        assert [told[name] for name in names] == pytest.approx(expected.tolist(), abs=2e-6)
