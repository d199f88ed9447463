"""Two processes on the CPU, started as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT_ROOT

from lightning_modules.cli import main

SMALL = [
    "--data.num_train=64",
    "--data.num_val=16",
    "--data.num_test=16",
    "--data.loading.num_workers=0",
]


def kinetoscope(*words: str) -> str:
    command = [sys.executable, "-m", "lightning_modules", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.one_slow_case
def test_two_processes_train_and_score_like_one(
    motion_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ["--config", "configs/quickstart.yaml", f"--data.root={motion_root}", *SMALL]
    ddp = ["--config", "configs/trainer/ddp.yaml"]
    short = ["--trainer.max_epochs=1", "--data.loading.batch_size=8", "--trainer.logger=false"]
    kinetoscope("fit", *base, *ddp, *short, f"--run.folder={tmp_path}", "--run.name=two")
    folder = tmp_path / "two" / "0"
    checkpoint = folder / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 4
    assert len(list((tmp_path / "two").iterdir())) == 1

    scores = {}
    accuracy: dict[str, list[str]] = {}
    monkeypatch.chdir(PROJECT_ROOT)
    for name, layer in (("one", ["--config", "configs/trainer/cpu.yaml"]), ("two", ddp)):
        where = [*base, *layer, "--ckpt_path", str(checkpoint), "--data.loading.batch_size=3"]
        printed = ""
        for command in ("test", "validate"):
            if name == "one":
                main([command, *where])
                printed += capsys.readouterr().out
            else:
                printed += kinetoscope(command, *where)
        scores[name] = dict(np.load(folder / "scores_test_1x1.npz"))
        wanted = ("video accuracy", "val/top1")
        accuracy[name] = [x for x in printed.splitlines() if any(w in x for w in wanted)]
        assert len(accuracy[name]) == 2
    assert accuracy["one"] == accuracy["two"]
    assert scores["one"]["video_ids"].tolist() == scores["two"]["video_ids"].tolist()
    assert len(set(scores["two"]["video_ids"].tolist())) == 16
    np.testing.assert_array_equal(scores["one"]["labels"], scores["two"]["labels"])
    np.testing.assert_allclose(scores["one"]["logits"], scores["two"]["logits"], atol=1e-5)
    assert not list(folder.glob(".scores*"))
