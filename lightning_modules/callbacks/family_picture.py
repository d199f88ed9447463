"""FamilyPicture: what the family's own operations do, at each validation of a fit."""

from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules import VideoBatch
from lightning_modules.base import VideoClassifier
from lightning_modules.dashboards.show import has_dashboard, show
from lightning_modules.explaining.along_training import family_items


class FamilyPicture(Callback):
    """A callback that shows what a network's own operations do on the first validation batch.

    Shown by W&B and TensorBoard: of CoST the share of each view by layer, of ST-ResNet the motion
    that enters the appearance stream by stage. Other families have no number of the kind.
    """

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: VideoBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look at the first batch; on all ranks, as those of a divided network compute together."""
        assert isinstance(pl_module, VideoClassifier)
        if batch_idx or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if has_dashboard(trainer):
            items = family_items(pl_module.network, pl_module.inputs(batch))
            show(trainer, items, trainer.global_step - 1)
