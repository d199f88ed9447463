"""The bar of a fit and the lines of its epochs fit a terminal of 80 columns."""

import io
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import QUIET
from lightning.pytorch import Trainer
from rich.console import Console
from rich.progress import Progress

from lightning_modules.callbacks.progress import EpochLine, FitBar, epoch_line

METRICS = {"train/loss": 1.7264, "val/loss": 40.71, "val/top1": 0.25, "val/top5": 0.98765}


def trainer_at(epoch: int, epochs: int | None) -> Any:
    return SimpleNamespace(
        current_epoch=epoch,
        max_epochs=epochs,
        global_step=epoch,
        max_steps=-1,
        callback_metrics=METRICS,
    )


def test_line_of_an_epoch() -> None:
    line = epoch_line(trainer_at(3, 40), METRICS, 12.4)
    assert line == "epoch 3/39: loss 1.726, val loss 40.710, top-1 25.0 %, top-5 98.8 %, 12 s"
    assert epoch_line(trainer_at(3, -1), {"train/loss": 1.0}, 75.0) == (
        "epoch 3: loss 1.000, 1 min 15 s"
    )
    long = epoch_line(trainer_at(999, 1000), {**METRICS, "val/top1": 1.0}, 3599.0)
    assert long == "epoch 999/999: loss 1.726, val loss 40.710, top-1 100.0 %, top-5 98.8 %"
    assert len(long) <= 79


def test_line_of_an_epoch_without_validation_has_no_older_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = EpochLine()
    for epoch, validated in enumerate((True, False)):
        trainer = trainer_at(epoch, 2)
        line.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        if validated:
            line.on_validation_end(trainer, None)  # type: ignore[arg-type]
        line.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    first, second = capsys.readouterr().out.splitlines()
    assert "val loss 40.710" in first
    assert second == "epoch 1/1: loss 1.726, 0 s"


def test_epoch_that_goes_on_is_timed_from_there(capsys: pytest.CaptureFixture[str]) -> None:
    line, trainer = EpochLine(), trainer_at(3, 4)
    line.on_train_start(trainer, None)  # type: ignore[arg-type]
    line.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert capsys.readouterr().out == "epoch 3/3: loss 1.726, 0 s\n"


def test_short_epochs_have_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    line = EpochLine()
    for epoch in range(50):
        trainer = trainer_at(epoch, 50)
        line.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        if epoch == 30:
            line.on_validation_end(trainer, None)  # type: ignore[arg-type]
        line.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    told = [text.split(":")[0] for text in capsys.readouterr().out.splitlines()]
    assert told == ["epoch 0/49", "epoch 30/49", "epoch 49/49"]


def test_last_epoch_has_a_line_where_the_steps_end(capsys: pytest.CaptureFixture[str]) -> None:
    line = EpochLine()
    for epoch in range(3):
        trainer = trainer_at(epoch, -1)
        trainer.max_steps = 2
        line.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        line.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    first, second = capsys.readouterr().out.splitlines()
    assert (first[:7], second[:7]) == ("epoch 0", "epoch 2")


def test_bar_counts_to_no_last_epoch_where_the_steps_end() -> None:
    bar = FitBar()
    bar._trainer = trainer_at(7, -1)
    assert bar._get_train_description(7).strip() == "Epoch 7"
    bar._trainer = trainer_at(7, 9)
    assert bar._get_train_description(7).strip() == "Epoch 7/8"


@pytest.mark.parametrize("width", [80, 120])
def test_bar_is_one_line_as_wide_as_the_terminal(width: int) -> None:
    bar = FitBar()
    trainer = Trainer(**{**QUIET, "enable_progress_bar": True}, callbacks=[bar], max_epochs=1000)
    bar.metrics = "loss 1.726"
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    progress = Progress(*bar.configure_columns(trainer), console=console, auto_refresh=False)
    bar.train_progress_bar_id = progress.add_task("Epoch 999/999", total=1234)
    progress.update(bar.train_progress_bar_id, completed=1200)
    console.print(progress.get_renderable())
    (line,) = file.getvalue().splitlines()
    assert len(line) <= width
    assert line.startswith("Epoch 999/999 \u2501")
    for part in ("1200/1234", "left", "loss 1.726"):
        assert part in line
    bar.metrics = "loss 1.726  " + "one more metric of my own 0.123  " * 5
    file.truncate(file.seek(0))
    console.print(progress.get_renderable())
    (line,) = file.getvalue().splitlines()
    assert "\u2026" in line


def test_bar_shows_metrics_of_training_alone() -> None:
    bar = FitBar()
    trainer = SimpleNamespace(
        loggers=[SimpleNamespace(version="tefl")],
        progress_bar_metrics={"train/loss": 1.5, "val/loss": 2.0, "val/top1": 0.1, "mine": 3.0},
    )
    assert bar.get_metrics(trainer, None) == {}  # type: ignore[arg-type]
    assert bar.metrics == "loss 1.500  mine 3.000"


def test_bar_is_drawn_by_the_thread_that_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    bar, drawn, now = FitBar(), list[int](), iter([1.0, 1.05, 1.06, 1.2])
    bar.progress = SimpleNamespace(  # type: ignore[assignment]
        refresh=lambda: drawn.append(threading.get_ident()), soft_refresh=lambda: drawn.append(-1)
    )
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    for hard in (False, False, True, False):
        bar.refresh(hard)
    assert drawn == [threading.get_ident()] * 3
