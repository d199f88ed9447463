"""Pages about a run that is there, command by command: tests, probes, pictures, exports.

Each page has a folder of its own, with a run in `runs/NAME/0` and a few clips. What is long there
is short here: one corruption for all, a few clips.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from command_line import PROJECT_ROOT
from doc_pages import commands_of

from lightning_modules.cli import main

SHORT: Mapping[str, list[str]] = {
    "test": ["--trainer.limit_test_batches=1.0", "--trainer.enable_progress_bar=false"],
    "explain": ["--num_workers", "0"],
}


@pytest.fixture
def desk(
    tmp_path: Path, run_folder: Path, motion_root: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with a run, its checkpoints under the names of the pages, and a clip."""
    shutil.copytree(run_folder, tmp_path / "runs" / "NAME" / "0")
    for name in ("best", "last"):
        shutil.copy(run_folder / "checkpoints" / "last.ckpt", tmp_path / f"{name}.ckpt")
        saved = tmp_path / "runs" / "NAME" / "0" / "checkpoints" / f"{name}.ckpt"
        shutil.copy(run_folder / "checkpoints" / "last.ckpt", saved)
    shutil.copy(min(motion_root.glob("test/*/*.mp4")), tmp_path / "VIDEO.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words: list[str], *more: str) -> None:
    main([*words, *SHORT.get(words[0], []), *more])


def scores(desk: Path, name: str) -> np.ndarray:
    with np.load(desk / "runs" / "NAME" / "0" / f"scores_test_{name}.npz") as stored:
        return np.asarray(stored["logits"])


def test_probes(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe, compare = commands_of("probes.md")
    run([word for word in probe if word not in ("--data.evaluation.probe", "reversed")])
    run(probe)
    plain, backwards = scores(desk, "1x1"), scores(desk, "1x1_reversed")
    assert plain.shape == backwards.shape == (16, 1, 8)
    assert not np.allclose(plain, backwards)
    run(compare)
    assert "reversed" in capsys.readouterr().out
    assert (desk / "runs" / "compare" / "compare.html").is_file()


def test_corruptions(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (test,) = commands_of("robustness.md")
    assert test[-1] == "all"
    run([*test[:-1], "jpeg@1"])
    assert "robustness: " in capsys.readouterr().out
    assert list((desk / "runs" / "NAME" / "0").glob("robustness_*.csv"))


def test_several_views(desk: Path) -> None:
    test, compare = commands_of("scores.md")
    run(test)
    assert scores(desk, "10x3").shape == (16, 30, 8)
    assert [word.partition("=")[0] for word in compare] == ["compare", "cost", "c3d"]
    tested = desk / "runs" / "NAME" / "0" / "scores_test_10x3.npz"
    named = [Path(name) for words in compare[1:] for name in words.partition("=")[2].split(",")]
    for number, path in enumerate(named):  # as of other trainings
        path.parent.mkdir(parents=True)
        with np.load(tested) as stored:
            parts = dict(stored)
        other = {"weights": str(number), "run": {"id": str(number)}}
        parts["protocol"] = json.dumps(json.loads(str(parts["protocol"])) | other)
        parts["logits"] += np.random.default_rng(number).normal(size=parts["logits"].shape)
        np.savez(path, **parts)
    run(compare)
    assert (desk / "runs" / "compare" / "compare.html").is_file()


def test_looks(desk: Path) -> None:
    of_videos, of_split, of_other, of_errors = commands_of("explain.md")
    assert "UCF101DataModule" in of_other  # the form is that of the one before
    first = [word for word in of_videos if "[" not in word and "]" not in word]
    assert first[-1] == "VIDEO"
    run([*first[:-1], "VIDEO.mp4"])
    assert (desk / "looks" / "index.html").is_file()
    shutil.rmtree("looks")
    run(of_split, "--limit", "4")
    assert (desk / "looks" / "index.html").is_file()
    shutil.rmtree("looks")
    at = of_errors.index("--config")
    saved = "runs/NAME/0/checkpoints/last.ckpt"
    run(["test", *of_errors[at : at + 2], "--ckpt_path", saved])
    run(of_errors)
    assert (desk / "looks" / "index.html").is_file()


def test_exports(desk: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    commands = commands_of("export.md")
    forms = [words[words.index("--format") + 1] for words in commands]
    assert forms == ["onnx", "pt2", "safetensors", "card", "hub"]
    for words in commands:
        run(words)
    written = ["cost.onnx", "cost.pt2", "best.safetensors", "best.md", "best.hub/config.json"]
    assert all((desk / name).is_file() for name in written)
    text = (PROJECT_ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^python (docs/.*)$", text, re.MULTILINE)
    script, *given = shlex.split(line)
    labels = [sys.executable, str(PROJECT_ROOT / script), *given]
    said = subprocess.run(labels, capture_output=True, text=True, check=True).stdout
    assert said.count(" %  ") == 5
