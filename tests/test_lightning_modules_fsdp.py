"""FSDP needs two GPUs, as torch refuses CPU ranks: `pytest -m slow tests/test_*_fsdp.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import PROJECT_ROOT

LAYER = "configs/override/fsdp.yaml"


def test_fsdp_layer_keeps_one_file_and_bounds_the_wait() -> None:
    trainer = yaml.safe_load((PROJECT_ROOT / LAYER).read_text())["trainer"]
    assert trainer["strategy"]["init_args"]["state_dict_type"] == "full"
    assert "timeout" in trainer["strategy"]["init_args"]
    assert trainer["gradient_clip_val"] is None  # by the norm, which FSDP's precision refuses


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="FSDP needs two GPUs")
def test_largest_network_trains_and_resumes_sharded(motion_root: Path, tmp_path: Path) -> None:
    words = [
        "--config", "configs/quickstart.yaml", "--config", "configs/override/debug.yaml",
        "--config", LAYER, "--trainer.accelerator=gpu", "--trainer.devices=2",
        "--model", "StNetModule", "--model.network=stnet_r152", "--model.frames_per_segment=5",
        "--data.sampling.num_segments=2",
        "--data.sampling.frames_per_segment=5",
        "--data.num_train=64", "--data.num_val=16", "--data.num_test=16",
        f"--data.root={motion_root}", f"--run.folder={tmp_path}", "--run.name=sharded",
        "--run.version=a", "--ckpt_path=last",
    ]  # fmt: skip
    for epochs in (1, 2):
        command = [sys.executable, "-m", "lightning_modules", "fit", *words]
        command += [f"--trainer.max_epochs={epochs}", "--model.optimization.schedule=constant"]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        subprocess.run(command, cwd=PROJECT_ROOT, env=environment, check=True, timeout=900)
        path = tmp_path / "sharded" / "a" / "checkpoints" / "last.ckpt"
        assert torch.load(path, weights_only=True)["epoch"] == epochs - 1
