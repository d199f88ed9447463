"""Throughput: clips per second of a fit, and the loader's share of its time."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules import VideoBatch


class Throughput(Callback):
    """A callback that logs clips per second over all devices, and the share of waiting for data.

    Args:
        every_n_steps: Batches that one measurement averages over.
    """

    def __init__(self, every_n_steps: int = 20) -> None:
        self.every_n_steps = every_n_steps
        self._restart(0.0)

    def _restart(self, now: float) -> None:
        self._since = now
        self._ended = now
        self._waited = 0.0
        self._clips = 0
        self._batches = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure, perhaps in the middle of an epoch."""
        self._restart(time.perf_counter())

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure; validation time is not training time."""
        self._restart(time.perf_counter())

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the time since the last batch ended as waiting for data."""
        self._waited += time.perf_counter() - self._ended

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        """Count, and log every few batches."""
        now = time.perf_counter()
        self._ended = now
        self._clips += len(batch["label"])
        self._batches += 1
        if self._batches == self.every_n_steps or trainer.is_last_batch:
            seconds = now - self._since
            rate = self._clips * trainer.world_size / seconds
            pl_module.log("train/clips_per_second", rate)
            pl_module.log("train/data_wait", self._waited / seconds)
            self._restart(now)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew after a validation in the middle of an epoch."""
        self._restart(time.perf_counter())
