"""The length of a training: whether it ends, its optimizer steps, and their size."""

import math

from lightning.pytorch import Trainer

from datamodules.errors import UserError
from lightning_modules.training.optim import Optimization


def refuse_endless(optimization: Optimization, max_epochs: int | None, max_steps: int) -> None:
    """Refuse a fit without an end under a schedule that needs one.

    Args:
        optimization: Settings of the optimization.
        max_epochs: Epochs as they were given, before Lightning makes 1,000 of None.
        max_steps: Optimizer steps as they were given; -1 for no limit.

    Raises:
        UserError: If the schedule is a cosine and nothing tells its end.
    """
    endless = (max_epochs is None or max_epochs < 0) and max_steps < 0
    if endless and optimization.schedule == "cosine":
        raise UserError(
            "the cosine schedule needs an end; set trainer.max_epochs or trainer.max_steps, such "
            "as --trainer.max_epochs 50, or another model.optimization.schedule"
        )


def count_steps(trainer: Trainer, batches: int | None) -> tuple[float, int]:
    """Count the optimizer steps of the whole training, infinite without an end, and of one epoch.

    Lightning's own estimate starts the loader's workers, on a resumed run before the trainer knows
    its epoch: they would prepare clips of epoch 0. So it is asked only where the data does not
    tell.

    Args:
        trainer: Trainer of the fit.
        batches: Batches of an epoch on each rank; None where the data does not tell.
    """
    if batches is None:
        total = float(trainer.estimated_stepping_batches)
        per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        return total, max(1, per_epoch)
    limit = trainer.limit_train_batches
    used = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    per_epoch = max(1, math.ceil(used / trainer.accumulate_grad_batches))
    epochs = trainer.max_epochs
    total = math.inf if epochs is None or epochs < 0 else float(epochs * per_epoch)
    return (min(total, trainer.max_steps) if trainer.max_steps >= 0 else total), per_epoch


def rate_scale(trainer: Trainer, reference: int | None, per_device: int | None) -> float:
    """Compute the factor on the learning rate for the batch really used.

    Args:
        trainer: Trainer of the fit.
        reference: Clips of a step that the rate is meant for; None to take the rate as it is.
        per_device: Clips of a batch on each rank; None where the data does not tell.

    Raises:
        UserError: If there is a reference, and the data does not tell its batch size.
    """
    if reference is None:
        return 1.0
    if per_device is None:
        raise UserError(
            "model.optimization.reference_batch needs the batch size, which this DataModule "
            "does not tell; give it a data_spec(), or leave reference_batch out"
        )
    return per_device * trainer.world_size * trainer.accumulate_grad_batches / reference
