"""Signals at every place of a fit: saved, out in time, and gone on as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from conftest import PROJECT_ROOT
from torch import Tensor

from lightning_modules.cli import main
from lightning_modules.resume import checkpoint_io
from lightning_modules.resume.stop_signals import INTERRUPTED, STOPPED

TINY = [
    "--config", str(PROJECT_ROOT / "configs" / "quickstart.yaml"),
    "--config", str(PROJECT_ROOT / "configs" / "override" / "debug.yaml"),
    "--data.num_train=64", "--data.num_val=16", "--data.num_test=16",
    "--data.loading.batch_size=16",
    "--data.sampling.num_frames=8", "--data.sampling.frame_stride=2",
    "--data.crops.size=32", "--data.crops.short_side=32",
    "--trainer.limit_train_batches=1.0", "--trainer.limit_val_batches=1.0",
    "--trainer.num_sanity_val_steps=1", "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false",
    "--model.optimization.ema_decay=0.9", "--model.dropout=0.2",
    "--model.optimization.schedule=constant",
    "--ckpt_path=last", "--run.version=a",
]  # fmt: skip
"""Two epochs of four steps and one validation batch, 32 px, with dropout, BN and an average."""

SECONDS = 30
"""Within which all ranks have to be out after a signal."""


@pytest.fixture(autouse=True)
def _plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETOSCOPE_PLUGINS", "signal_plugin")


def signal_at(folder: Path, place: str, batch: int, **more: Any) -> list[str]:
    """Options that send a signal at a place, once."""
    values = {"place": place, "batch": batch, "mark": folder / "signalled", **more}
    options = [f"--trainer.callbacks.{name}={value}" for name, value in values.items()]
    return ["--trainer.callbacks=signal_plugin.SignalAt", *options]


def fit(root: Path, runs: Path, name: str, *more: str) -> int:
    """A fit in this process; its exit code."""
    where = [f"--data.root={root}", f"--run.folder={runs}", f"--run.name={name}"]
    try:
        main(["fit", *TINY, *where, *more])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def checkpoint(runs: Path, name: str) -> dict[str, Any]:
    path = runs / name / "a" / "checkpoints" / "last.ckpt"
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def both_weights(content: dict[str, Any]) -> dict[str, Tensor]:
    """The average and the weights in training, which must never stand in each other's place."""
    return {
        f"{kind}.{name}": value
        for kind in ("state_dict", "current_model_state")
        for name, value in content[kind].items()
    }


def assert_same_end(runs: Path, one: str, other: str) -> None:
    first, second = checkpoint(runs, one), checkpoint(runs, other)
    assert first["global_step"] == second["global_step"]
    weights = both_weights(second)
    for name, value in both_weights(first).items():
        assert torch.equal(value, weights[name]), name


@pytest.fixture(scope="module")
def whole(motion_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of runs that holds an unbroken one, `whole`."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINETOSCOPE_PLUGINS", "signal_plugin")
        assert fit(motion_root, runs, "whole") == 0
    return runs


@pytest.fixture
def _signals_within_the_save(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Send SIGTERM and Ctrl-C again, while the checkpoint that the first asked for is written."""
    write = checkpoint_io._write

    def interrupted_write(content: dict[str, Any], file: BinaryIO) -> None:
        if (tmp_path / "signalled").exists() and not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
        write(content, file)

    monkeypatch.setattr(checkpoint_io, "_write", interrupted_write)


PLACES = [
    # place, batch, signal, steps done when it is out
    pytest.param("validation", 0, "SIGTERM", 4),
    pytest.param("train", 5, "SIGINT", 6),
    pytest.param("sanity", 0, "SIGUSR1", 0, marks=[pytest.mark.slow, pytest.mark.one_slow_case]),
    pytest.param("train", 0, "SIGTERM", 1, marks=pytest.mark.slow),
    pytest.param("train", 7, "SIGTERM", 8, marks=pytest.mark.slow),
]


@pytest.mark.usefixtures("_signals_within_the_save")
@pytest.mark.parametrize(("place", "batch", "number", "step"), PLACES)
def test_signalled_fit_saves_and_goes_on_exactly(
    place: str,
    batch: int,
    number: str,
    step: int,
    whole: Path,
    motion_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"{place}{batch}"
    options = signal_at(tmp_path, place, batch, name=number)
    code = fit(motion_root, whole, name, *options)
    assert time.time() - float((tmp_path / "signalled").read_text()) < SECONDS
    # SIGTERM came while the checkpoint of Ctrl-C was written: too late to change the code
    assert code == (INTERRUPTED if number == "SIGINT" else STOPPED)
    assert (tmp_path / "again").exists()
    assert checkpoint(whole, name)["global_step"] == step
    assert f"stopped and saved at step {step}" in capsys.readouterr().out
    assert fit(motion_root, whole, name, *options) == 0
    assert_same_end(whole, "whole", name)


@pytest.mark.slow
def test_twenty_preemptions_end_at_the_same_weights(motion_root: Path, tmp_path: Path) -> None:
    long = ["--trainer.max_epochs=3", "--data.loading.batch_size=4", "--data.loading.num_workers=1"]
    assert fit(motion_root, tmp_path, "whole", *long) == 0
    steps = checkpoint(tmp_path, "whole")["global_step"]
    in_order = [
        [*(("train", epoch * steps // 3 + i) for i in range(steps // 3)), ("validation", epoch)]
        for epoch in range(3)
    ]
    places = [place for epoch in in_order for place in epoch]
    chosen = np.random.default_rng(7).choice(len(places) - 1, 20, replace=False)
    for count, (place, batch) in enumerate(places[i] for i in sorted(chosen)):
        (tmp_path / str(count)).mkdir()
        options = signal_at(tmp_path / str(count), place, batch)
        assert fit(motion_root, tmp_path, "stopped", *long, *options) == STOPPED, (place, batch)
    assert fit(motion_root, tmp_path, "stopped", *long) == 0
    assert_same_end(tmp_path, "whole", "stopped")


def run_ranks(runs: Path, root: Path, name: str, *more: str) -> int:
    """A fit on two ranks that Lightning starts; its exit code."""
    words = [f"--data.root={root}", f"--run.folder={runs}", f"--run.name={name}"]
    ranks = ["--config", "configs/trainer/ddp.yaml", "--data.loading.batch_size=8"]
    tests = str(PROJECT_ROOT / "tests")
    settings = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": tests}
    command = [sys.executable, "-m", "lightning_modules", "fit", *TINY, *words, *ranks, *more]
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, env={**os.environ, **settings}, stdout=subprocess.DEVNULL,
        timeout=600,
    )  # fmt: skip
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "batch", "step"),
    [
        pytest.param("train", 1, 3, marks=pytest.mark.one_slow_case),
        ("validation", 0, 5),
    ],
)
def test_signal_on_the_second_rank_alone_stops_both(
    place: str, batch: int, step: int, motion_root: Path, tmp_path: Path
) -> None:
    options = signal_at(tmp_path, place, batch, rank=1)
    assert run_ranks(tmp_path, motion_root, "stopped", *options) == STOPPED
    assert time.time() - float((tmp_path / "signalled").read_text()) < SECONDS
    assert checkpoint(tmp_path, "stopped")["global_step"] == step
    assert run_ranks(tmp_path, motion_root, "stopped", *options) == 0
    assert run_ranks(tmp_path, motion_root, "whole") == 0
    assert_same_end(tmp_path, "whole", "stopped")
