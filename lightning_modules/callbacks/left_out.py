"""LeftOut: the training videos that an epoch does not show."""

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_modules.callbacks.broken_videos import _data_of
from lightning_modules.console import say


class LeftOut(Callback):
    """A callback that names the training videos that fill no step of a fit's first epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the number of videos that each epoch drops, and the names in this one."""
        data = _data_of(trainer)
        names = data.left_out(trainer.current_epoch)
        if names:
            more = ", ..." if len(names) > 3 else ""
            say(
                f"each epoch leaves out {len(names)} of {len(data.train_set)} training videos, too "
                "few for one more optimizer step; which ones changes from epoch to epoch (now "
                f"{', '.join(names[:3])}{more})"
            )
