"""FitLength: how long a fit will be, in epochs, steps and minutes."""

import math
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lightning_modules.base import VideoClassifier
from lightning_modules.console import say
from lightning_modules.training.length import count_steps

_FEW_STEPS, _FEW_SECONDS = 5, 3.0
"""Least measurement that a time is told from."""


class FitLength(Callback):
    """A callback that says how many steps a fit has before it begins, and after a few how long.

    The time is told twice: of the steps alone, then with the first validation in it.
    """

    def __init__(self) -> None:
        self._total = math.inf
        self._since: tuple[float, int] | None = None
        self._validated = False
        self._is_final = False
        self._is_told = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many epochs and steps there are."""
        assert isinstance(pl_module, VideoClassifier)
        self._total, per_epoch = count_steps(trainer, pl_module.data.batches_per_epoch)
        per_device = pl_module.data.batch_size
        clips = None
        if per_device is not None:
            clips = per_device * trainer.world_size * trainer.accumulate_grad_batches
        say(length_sentence(self._total, per_epoch, clips))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Begin to measure after the first step, which waits for the loader; tell after a few."""
        if self._since is None:
            self._since = time.perf_counter(), trainer.global_step
        elif not self._is_told:
            self._tell(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the time from here on holds a validation."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the time anew, once a validation and a step are in it.

        An epoch may be resumed after its last step.
        """
        if self._since is not None and self._validated and not self._is_final:
            self._tell(trainer)

    def _tell(self, trainer: Trainer) -> None:
        """Say how long the rest takes, if enough was measured."""
        assert self._since is not None
        steps, seconds = trainer.global_step - self._since[1], time.perf_counter() - self._since[0]
        left = self._total - trainer.global_step
        if steps < _FEW_STEPS or seconds < _FEW_SECONDS or not math.isfinite(left) or left <= 0:
            return
        counted = "validations included" if self._validated else "validations not counted"
        duration = duration_in_words(left * seconds / steps)
        say(f"{left:,.0f} steps left, which take about {duration} ({counted})")
        self._is_told, self._is_final = True, self._validated


def length_sentence(total: float, per_epoch: int, clips: int | None) -> str:
    """Say how long a fit is.

    Args:
        total: Optimizer steps of the whole fit; infinite without an end.
        per_epoch: Optimizer steps of an epoch.
        clips: Clips of a step; None where nobody knows.
    """
    steps = _counted(per_epoch, "step")
    if clips is not None:
        steps += f" of {_counted(clips, 'clip')}"
    if math.isinf(total):
        return f"{steps} an epoch, without an end: stop it with Ctrl-C"
    whole = _counted(total, "step")
    return f"{_counted(round(total / per_epoch, 1), 'epoch')} of {steps}: {whole} in all"


def _counted(number: float, word: str) -> str:
    return f"{number:,.{0 if number == int(number) else 1}f} {word}{'' if number == 1 else 's'}"


def duration_in_words(seconds: float) -> str:
    """Write a duration to one or two digits: `40 seconds`, `12 minutes`, `3.5 hours`, `2.1 days`.

    Args:
        seconds: The duration.
    """
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 1.5 * size:
            digits = 0 if unit == "minute" or seconds >= 10 * size else 1
            return _counted(round(seconds / size, digits), unit)
    return _counted(max(1, round(seconds)), "second")
