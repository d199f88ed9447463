"""Progress of a fit: a bar that fits the terminal, and a line for each epoch."""

import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from lightning_modules.console import say

WIDTH = 79
"""Columns of a line; an 80th would begin the next one in some terminals."""

REDRAW_SECONDS = 0.1
"""Least time between two drawings of the bar."""

LINE_SECONDS = 5.0
"""Least time between the lines of two epochs that nothing was validated in."""

_SHORT = {
    "train/loss": "loss",
    "val/loss": "val loss",
    "val/top1": "top-1",
    "val/top5": "top-5",
    "val/mAP": "mAP",
    "val/action_top1": "all columns",
}
_SHARES = ("top-1", "top-5", "mAP", "all columns")


class EpochLine(Callback):
    """A line at the end of each epoch, on a terminal and in the output file of a job alike.

    Loss of the last batch, then what was validated in this epoch, and the time that it took, of one
    that goes on amid it the time since. Of
    epochs of a moment, as few clips have, those have a line that were validated, and of the others
    one in some seconds.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._told = -LINE_SECONDS
        self._validated = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure: a fit that goes on amid an epoch does not start that."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure."""
        self._since, self._validated = time.monotonic(), False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there is something new to say."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line, unless nothing is new since the one before."""
        now = time.monotonic()
        if now - self._told < LINE_SECONDS and not self._validated and not _is_last(trainer):
            return
        self._told = now
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name in _SHORT and (self._validated or not name.startswith("val/"))
        }
        say(epoch_line(trainer, metrics, now - self._since))


def _is_last(trainer: Trainer) -> bool:
    steps_end = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
    return steps_end or trainer.current_epoch + 1 == trainer.max_epochs


def epoch_line(trainer: Trainer, metrics: Mapping[str, float], seconds: float) -> str:
    """Write the line of an epoch.

    Args:
        trainer: The trainer, at the end of the epoch.
        metrics: Values by their logged name.
        seconds: Time that the epoch took.
    """
    shown = {_SHORT[name]: metrics[name] for name in _SHORT if name in metrics}
    parts = [
        f"{name} {100 * value:.1f} %" if name in _SHARES else f"{name} {value:.3f}"
        for name, value in shown.items()
    ]
    minutes, rest = divmod(round(seconds), 60)
    parts.append(f"{minutes} min {rest} s" if minutes else f"{rest} s")
    line = f"epoch {_numbered(trainer)}: {', '.join(parts)}"
    return line if len(line) <= WIDTH else line.removesuffix(f", {parts[-1]}")


def _numbered(trainer: Trainer) -> str:
    """Write the number of the epoch, and the last one's where there is one."""
    last = "" if trainer.max_epochs in {None, -1} else f"/{trainer.max_epochs - 1}"
    return f"{trainer.current_epoch}{last}"


class FitBar(RichProgressBar):
    """Lightning's progress bar in one line of 80 columns; what was validated is in `EpochLine`.

    It is drawn by the thread that prints. Lightning's own, drawn by another, now and then writes
    over a line that is printed meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self.metrics = ""
        self._drawn = 0.0

    def refresh(self, hard: bool = False) -> None:
        """Draw the bar, not more often than an eye can follow.

        Args:
            hard: If True, draw it in any case.
        """
        now = time.monotonic()
        if self.progress is not None and (hard or now - self._drawn >= REDRAW_SECONDS):
            self.progress.refresh()
            self._drawn = now

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Return columns that keep their width, around a bar that takes the rest."""
        no_wrap = Column(no_wrap=True)
        return [
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=no_wrap),
            TimeElapsedColumn(table_column=no_wrap.copy()),
            TextColumn("left"),
            TimeRemainingColumn(table_column=no_wrap.copy()),
            _Metrics(self),
        ]

    def _get_train_description(self, current_epoch: int) -> str:
        """Name the epoch; Lightning's own counts to -2 where the steps are what ends a fit."""
        described = f"Epoch {_numbered(self.trainer)}"
        return f"{described:{len(self.validation_description)}}"

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Take the metrics of the training for our own column; leave none to Lightning's."""
        found = super().get_metrics(trainer, pl_module)
        shown = {k: v for k, v in found.items() if k != "v_num" and not k.startswith("val/")}
        self.metrics = "  ".join(
            f"{_SHORT.get(name, name)} {value:.3f}"
            if isinstance(value, float)
            else f"{_SHORT.get(name, name)} {value}"
            for name, value in shown.items()
        )
        return {}


class _Metrics(ProgressColumn):
    """A column of the bar's metrics, beside the training's row alone."""

    def __init__(self, bar: FitBar) -> None:
        super().__init__(table_column=Column(no_wrap=True, overflow="ellipsis"))
        self._bar = bar

    def render(self, task: Task) -> Text:
        """Write the metrics of the last batch."""
        return Text(self._bar.metrics if task.id == self._bar.train_progress_bar_id else "")
