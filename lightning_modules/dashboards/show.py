"""The one place from which a fit shows more than numbers: each logger shows what it can."""

from collections.abc import Mapping

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import WandbLogger

from lightning_modules.dashboards.items import Item
from lightning_modules.dashboards.tensorboard_items import to_tensorboard
from lightning_modules.dashboards.wandb_items import as_wandb
from lightning_modules.runs.tensorboard import TensorBoard

__all__ = ["can_show", "has_dashboard", "show"]


def has_dashboard(trainer: Trainer) -> bool:
    """Return True, on all ranks alike, if a logger of a fit shows more than numbers."""
    return any(isinstance(logger, WandbLogger | TensorBoard) for logger in trainer.loggers)


def can_show(trainer: Trainer) -> bool:
    """Return True if a logger of a fit, on this rank, shows more than numbers."""
    return trainer.is_global_zero and has_dashboard(trainer)


def show(trainer: Trainer, items: Mapping[str, Item], step: int) -> None:
    """Send items to the loggers of a fit that can show them, on the first rank.

    Args:
        trainer: The trainer.
        items: Items by name.
        step: Step that they belong to.
    """
    if not can_show(trainer):
        return
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            for name, item in items.items():
                if row := as_wandb(name, item):
                    logger.log_metrics(row, step)
        elif isinstance(logger, TensorBoard):
            for name, item in items.items():
                to_tensorboard(logger, name, item, step)
