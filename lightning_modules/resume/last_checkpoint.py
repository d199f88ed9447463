"""`last.ckpt`: written at the end of each epoch, and at optimizer steps in between."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lightning_modules.resume.loop_progress import at_step_boundary

_STEPS_PER_LOOK = 10
"""Optimizer steps between two looks at the clock, on which all ranks have to agree."""


class LastCheckpoint(Checkpoint):
    """Newest state of a fit; all ranks save the same step, right after an optimizer step.

    Being a checkpoint callback, it comes after all others at the end of a batch.

    Args:
        path: The file.
        every_n_steps: Optimizer steps between two files; None for no such limit.
        every_n_minutes: Longest time between two files, as rank 0 sees it; None for no such limit.
    """

    def __init__(
        self, path: Path, every_n_steps: int | None = None, every_n_minutes: float | None = None
    ) -> None:
        self.path = path
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self._saved_step = 0
        self._saved_at = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count from here."""
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save where enough steps or minutes have passed."""
        if at_step_boundary(trainer) and self._is_due(trainer):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the whole epoch."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the file; to be called on all ranks."""
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def _is_due(self, trainer: Trainer) -> bool:
        step = trainer.global_step
        if step == self._saved_step:
            return False
        if self.every_n_steps is not None and step % self.every_n_steps == 0:
            return True
        if self.every_n_minutes is None or step % _STEPS_PER_LOOK:
            return False
        is_late = time.monotonic() - self._saved_at >= 60 * self.every_n_minutes
        return bool(trainer.strategy.broadcast(is_late))


def save_now(trainer: Trainer) -> bool:
    """Save `last.ckpt` of a running fit; to be called on all ranks at the same step.

    It may be called at the end of a training batch, in a validation and in the sanity check.

    Args:
        trainer: The trainer of the fit.

    Returns:
        True if the file holds all that was done, False if nothing was written: gradients wait for
        the optimizer, so that the end of one of the next batches is the time to save, or the fit
        keeps no checkpoints.
    """
    if not at_step_boundary(trainer):
        return False
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, LastCheckpoint):
            callback.save(trainer)
            return True
    return False
