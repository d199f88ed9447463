"""A callback for tests: signals at a known place of a fit that runs in processes of its own."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

PLACES = ("sanity", "train", "validation")


class SignalAt(Callback):
    """Sends its own process a signal while a batch is worked on, once in a run.

    Args:
        place: `sanity`, `train` or `validation`.
        batch: Training batch, counted over the whole run; for `validation` the epoch, in the first
            batch of which it is sent.
        mark: File that says that it was done; a resumed run does not repeat it.
        name: Name of the signal.
        rank: Rank that gets it.
        times: How often it is sent.
    """

    def __init__(
        self,
        place: str,
        batch: int,
        mark: str,
        name: str = "SIGTERM",
        rank: int = 0,
        times: int = 1,
    ) -> None:
        assert place in PLACES
        self.place, self.batch, self.mark = place, batch, Path(mark)
        self.number, self.rank, self.times = signal.Signals[name], rank, times

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.place == "train" and trainer.fit_loop.total_batch_idx == self.batch:
            self._send(trainer)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking:
            if self.place == "sanity":
                self._send(trainer)
            return
        if self.place == "validation" and (trainer.current_epoch, batch_idx) == (self.batch, 0):
            self._send(trainer)

    def _send(self, trainer: Trainer) -> None:
        if trainer.global_rank != self.rank or self.mark.exists():
            return
        self.mark.write_text(str(time.time()))
        for _ in range(self.times):
            os.kill(os.getpid(), self.number)
        while self.number in signal.sigpending():  # another thread takes it, when it gets its turn
            time.sleep(0.001)
        time.sleep(0.05)
