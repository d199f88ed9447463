"""ValidationReport: per-class accuracy and confusion matrix of the weights that are kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from datamodules.errors import as_storage_error
from lightning_modules.base import VideoClassifier
from lightning_modules.dashboards.items import Bars, Confusion, Item, Picture
from lightning_modules.dashboards.show import show
from lightning_modules.reports.classes import write_confusion, write_per_class
from lightning_modules.runs.folder import GO_ON
from lightning_modules.runs.wandb_runs import LosableLogger
from lightning_modules.training.metrics import per_class_accuracy

BEST = {"value": "best/val_top1", "epoch": "best/epoch", "step": "best/step"}
"""Names in the summary of a run in W&B: its best val/top1, and when that was."""


class ValidationReport(Callback):
    """Confusion matrix and per-class accuracy of a fit's validation videos.

    Written to the run folder as `per_class.csv` and `confusion.png`, and shown by W&B and
    TensorBoard where they log. They are of the validation with the best val/top1, whose checkpoint
    is kept; of the latest where no best one is. The best val/top1 is in the summary in W&B.

    Args:
        folder: The run folder.
        keep_best: If the checkpoint with the best val/top1 is kept.
    """

    def __init__(self, folder: Path, keep_best: bool = True) -> None:
        self.folder = folder
        self.keep_best = keep_best
        self.best: dict[str, float] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the best validation so far, for a run that is resumed."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from the best validation of the interrupted run."""
        self.best = state_dict["best"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where the run is in W&B; say there its protocol, and again what its best was."""
        assert isinstance(pl_module, VideoClassifier)
        for logger in trainer.loggers:
            if isinstance(logger, LosableLogger):
                logger.note_address(self.folder)
                logger.log_summary({"protocol": pl_module.protocol})
        self._send_best(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute over all ranks; write on the first."""
        assert isinstance(pl_module, VideoClassifier)
        confusion: Tensor = pl_module.val_confusion.compute().cpu()
        pl_module.val_confusion.reset()
        if trainer.sanity_checking or trainer.state.fn != "fit" or not confusion.any():
            return
        step = trainer.global_step - 1  # that of the metrics of this validation
        top1 = float(confusion.trace() / confusion.sum())
        is_best = self.best is None or top1 > self.best["value"]
        if is_best:
            self.best = {"value": top1, "epoch": trainer.current_epoch, "step": step}
        if (is_best or not self.keep_best) and trainer.is_global_zero:
            self._report(trainer, pl_module.class_names, confusion, step)
        if is_best:
            self._send_best(trainer)

    def _report(self, trainer: Trainer, names: list[str], confusion: Tensor, step: int) -> None:
        """Write table and picture, and send them to where a picture can be."""
        picture = self.folder / "confusion.png"
        with as_storage_error(self.folder, GO_ON):
            write_per_class(self.folder / "per_class.csv", names, confusion)
            write_confusion(picture, names, confusion, f"epoch {trainer.current_epoch}")
        accuracy = per_class_accuracy(confusion).tolist()
        items: dict[str, Item] = {
            "val/confusion": Picture(picture),
            "val/confusion_matrix": Confusion(confusion.numpy(), names),
            "val/per_class": Bars("class", "accuracy", dict(zip(names, accuracy, strict=True))),
        }
        show(trainer, items, step)

    def _send_best(self, trainer: Trainer) -> None:
        """Set the best validation in the summary of the run in W&B."""
        for logger in trainer.loggers:
            if isinstance(logger, LosableLogger) and self.best is not None:
                logger.log_summary({BEST[key]: value for key, value in self.best.items()})
