"""The commands of docs/dashboards.md, as far as they need no server."""

import json
from pathlib import Path

import pytest
import yaml
from command_line import DEBUG, SMALL
from conftest import PROJECT_ROOT

from lightning_modules.cli import main
from lightning_modules.runs.wandb_runs import WandbAddress

PAGE = (PROJECT_ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
QUIET = ["--config", DEBUG, *SMALL, "--trainer.enable_progress_bar=false"]


def test_command_of_the_sweep_makes_its_run(
    motion_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As W&B's agent starts it; with `metrics.csv` alone, as W&B reads a sweep once a process."""
    sweep = yaml.safe_load((PROJECT_ROOT / "docs" / "sweep.yaml").read_text(encoding="utf-8"))
    assert sweep["metric"]["name"] == "val/top1"
    assert sweep["early_terminate"]["type"] == "hyperband"
    chosen = {"model.optimization.lr": 0.001, "data.loading.batch_size": 2, "seed_everything": 2}
    assert chosen.keys() == sweep["parameters"].keys()
    program, *words = sweep["command"]
    assert program == sweep["program"] == "kinetoscope"
    assert words.pop() == "${args}"
    monkeypatch.setenv("WANDB_SWEEP_ID", "swp")
    monkeypatch.setenv("WANDB_RUN_ID", "ofsweep1")
    monkeypatch.chdir(PROJECT_ROOT)
    where = [f"--data.root={motion_root}", f"--run.folder={tmp_path}", "--run.name=lr_sweep"]
    args = [f"--{name}={value}" for name, value in chosen.items()]
    main([*words, *args, *QUIET, *where])
    folder = tmp_path / "lr_sweep" / "ofsweep1"
    assert json.loads((folder / "run.json").read_text())["id"] == "ofsweep1"
    assert (folder / "metrics.csv").read_text().startswith("step,")
    assert WandbAddress.read(folder) is None
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimization"]["lr"] == 0.001
    assert config["seed_everything"] == 2
