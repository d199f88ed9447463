"""ValidationReport: per-class accuracy and confusion matrix of a validation."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from datamodules.errors import as_storage_error
from lightning_modules.base import VideoClassifier
from lightning_modules.reports.classes import write_confusion, write_per_class
from lightning_modules.runs.folder import GO_ON
from lightning_modules.training.metrics import per_class_accuracy


class ValidationReport(Callback):
    """Confusion matrix and per-class accuracy at the end of each validation of a fit.

    Written to the run folder as `per_class.csv` and `confusion.png` (always the latest), and sent
    to W&B where it logs.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute over all ranks; write on the first."""
        assert isinstance(pl_module, VideoClassifier)
        confusion: Tensor = pl_module.val_confusion.compute().cpu()
        pl_module.val_confusion.reset()
        if not trainer.is_global_zero or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        names = pl_module.class_names
        picture = self.folder / "confusion.png"
        with as_storage_error(self.folder, GO_ON):
            write_per_class(self.folder / "per_class.csv", names, confusion)
            write_confusion(picture, names, confusion, f"epoch {trainer.current_epoch}")
        accuracy = per_class_accuracy(confusion)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                step = trainer.global_step - 1  # that of the metrics of this validation
                logger.log_image("val/confusion", [str(picture)], step=step)
                rows = [[n, float(a)] for n, a in zip(names, accuracy, strict=True)]
                logger.log_table(
                    "val/per_class",
                    columns=["class", "accuracy"],
                    data=rows,
                    step=step,
                )
