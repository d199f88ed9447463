"""Shards of networks: on two CPU processes, and on two GPUs where there are some."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import PROJECT_ROOT
from lightning.pytorch.plugins.precision import FSDPPrecision

from lightning_modules import BlockShardedStrategy

LAYER = "configs/override/fsdp.yaml"


def test_fsdp_layer_divides_by_block_keeps_one_file_and_bounds_the_wait() -> None:
    trainer = yaml.safe_load((PROJECT_ROOT / LAYER).read_text())["trainer"]
    assert trainer["strategy"]["class_path"] == "lightning_modules.BlockShardedStrategy"
    assert trainer["strategy"]["init_args"]["state_dict_type"] == "full"
    assert "timeout" in trainer["strategy"]["init_args"]
    assert "gradient_clip_val" not in trainer  # that of the config below counts


@pytest.mark.parametrize(
    ("precision", "reduced"), [("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)]
)
def test_buffers_stay_in_float32(precision: Any, reduced: torch.dtype) -> None:
    strategy = BlockShardedStrategy()
    strategy.precision_plugin = FSDPPrecision(precision)
    config = strategy.precision_plugin.mixed_precision_config
    assert config.buffer_dtype is torch.float32
    assert config.param_dtype is config.reduce_dtype is reduced


SCRIPT = """
import sys
from torch.distributed.fsdp import FullyShardedDataParallel
from lightning_modules.callbacks import left_out
from lightning_modules.cli import main

class Look(left_out.LeftOut):
    def on_before_optimizer_step(self, trainer, module, optimizer):
        root = trainer.strategy.model
        units = [m.module for m in root.modules() if isinstance(m, FullyShardedDataParallel)]
        kinds = [type(unit).__name__ for unit in units]
        assert kinds.count("NarrowBottleneck") == 3, kinds
        own = sum(p.numel() for p in root.parameters())
        assert own < 0.6 * 79_000, own
        dtypes = {b.dtype for b in root.buffers() if b.is_floating_point()}
        assert {str(dtype) for dtype in dtypes} == {"torch.float32"}, dtypes
        sys.stdout.write(f"looked {trainer.global_rank}\\n")

from lightning_modules.session import fit_callbacks
assert fit_callbacks.LeftOut is left_out.LeftOut
if "sharded" in " ".join(sys.argv):
    fit_callbacks.LeftOut = Look
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision", [pytest.param("32-true", marks=pytest.mark.one_slow_case), "bf16-mixed"]
)
def test_shards_on_two_cpus_train_as_whole_copies_do(
    precision: str, motion_root: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = [
        *("--config", "configs/quickstart.yaml", "--data.loading.num_workers=0"),
        *("--data.num_train=64", "--data.num_val=16", "--data.num_test=16"),
        *(f"--data.root={motion_root}", f"--run.folder={tmp_path}", "--run.version=a"),
        *("--trainer.max_epochs=1", "--trainer.gradient_clip_val=0.1", "--trainer.logger=false"),
        *("--data.loading.batch_size=8", "--trainer.limit_val_batches=1"),
        # an update of AdamW is as large where a gradient is rounding alone
        *("--model.optimization.optimizer=sgd", "--model.optimization.betas=[0.9,0.999]"),
        *("--model.optimization.lr=0.1", "--model.optimization.weight_decay=5.0e-4"),
    ]
    cpus = ["--trainer.accelerator=cpu", "--trainer.devices=2"]
    found = {}
    for name, more in {
        "whole": ["--config", "configs/trainer/ddp.yaml"],
        "sharded": ["--config", LAYER, *cpus, f"--trainer.precision={precision}"],
    }.items():
        command = [sys.executable, str(script), "fit", *words, *more, f"--run.name={name}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert (name == "whole") == ("looked 0" not in done.stdout)
        path = tmp_path / name / "a" / "checkpoints" / "last.ckpt"
        found[name] = torch.load(path, weights_only=True)["state_dict"]
    for key, value in found["whole"].items():
        shard = found["sharded"][key]
        if precision == "32-true":
            torch.testing.assert_close(shard, value, rtol=1e-4, atol=1e-5)
        elif key.endswith(("running_mean", "running_var")):
            assert shard.dtype is torch.float32
            assert not torch.equal(shard, shard.bfloat16().float()), "of a bf16 buffer"
            assert (shard - value).norm() < 0.03 * value.norm()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
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
