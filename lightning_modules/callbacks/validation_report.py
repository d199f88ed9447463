"""ValidationReport: per-class accuracy and confusion matrix of the weights that are kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from datamodules.errors import as_storage_error
from lightning_modules.base import VideoClassifier
from lightning_modules.dashboards.show import show
from lightning_modules.reports.classes import items_of_classes, write_classes
from lightning_modules.runs.folder import GO_ON
from lightning_modules.runs.wandb_runs import LosableLogger

BEST = {"value": "best/val_{}", "epoch": "best/epoch", "step": "best/step"}
"""Names in the summary of a run in W&B: its best validation, such as val/top1, and when it was."""


class ValidationReport(Callback):
    """Confusion matrix and per-class accuracy of a fit's validation videos.

    Written to the run folder as `per_class.csv` and `confusion.png`, and shown by W&B and
    TensorBoard where they log; of any number of classes, average precision alone. They are of the
    validation with the best val/top1 (val/mAP, val/action_top1), whose checkpoint is kept; of the
    latest where no best one is. The best one is in the summary in W&B.

    Args:
        folder: The run folder.
        keep_best: If the best checkpoint is kept.
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
        self._send_best(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute over all ranks; write on the first."""
        assert isinstance(pl_module, VideoClassifier)
        by_class: Tensor = pl_module.classes.val_by_class.compute().cpu()
        pl_module.classes.val_by_class.reset()
        if trainer.sanity_checking or trainer.state.fn != "fit" or not by_class.nan_to_num().any():
            return
        step = trainer.global_step - 1  # that of the metrics of this validation
        value = float(trainer.callback_metrics[f"val/{pl_module.label_form.headline}"])
        is_best = self.best is None or value > self.best["value"]
        if is_best:
            self.best = {"value": value, "epoch": trainer.current_epoch, "step": step}
        if (is_best or not self.keep_best) and trainer.is_global_zero:
            self._report(trainer, pl_module, by_class, step)
        if is_best:
            self._send_best(trainer, pl_module)

    def _report(
        self, trainer: Trainer, module: VideoClassifier, by_class: Tensor, step: int
    ) -> None:
        """Write table and picture, and send them to where a picture can be."""
        names, form, picture = module.class_names, module.label_form, self.folder / "confusion.png"
        title = f"epoch {trainer.current_epoch}"
        with as_storage_error(self.folder, GO_ON):
            write_classes(self.folder / "per_class.csv", picture, title, form, names, by_class)
        items = items_of_classes(picture, form, names, by_class)
        show(trainer, {f"val/{name}": item for name, item in items.items()}, step)

    def _send_best(self, trainer: Trainer, module: VideoClassifier) -> None:
        """Set the best validation in the summary of the run in W&B."""
        name = module.label_form.headline
        for logger in trainer.loggers:
            if isinstance(logger, LosableLogger) and self.best is not None:
                found = {BEST[key].format(name): value for key, value in self.best.items()}
                logger.log_summary(found)
