"""CheckpointArtifacts: the checkpoints of a finished fit, as versions of one model in W&B."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_modules.base import VideoClassifier
from lightning_modules.dashboards.artifacts import KEPT, checkpoint_artifact
from lightning_modules.runs.wandb_runs import LosableLogger


class CheckpointArtifacts(Callback):
    """A callback that logs `best.ckpt` and `last.ckpt` as artifacts, at the end of a whole fit.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log them; a fit that is stopped and goes on later has none yet."""
        assert isinstance(pl_module, VideoClassifier)
        paths = [self.folder / "checkpoints" / f"{name}.ckpt" for name in KEPT]
        about = {"network": pl_module.network_name, "protocol": pl_module.protocol}
        for logger in trainer.loggers:
            if isinstance(logger, LosableLogger):
                for path in filter(Path.is_file, paths):
                    logger.log_artifact(checkpoint_artifact(path, about), [path.stem])
