"""RunConfig: the resolved config, in the run folder and in W&B."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import (
    SaveConfigCallback,
)
from lightning.pytorch.loggers import WandbLogger

from datamodules.atomic import write_atomically
from datamodules.errors import as_storage_error
from datamodules.redaction import without_secrets
from lightning_modules.runs.folder import GO_ON, KEY, RunIdentity
from lightning_modules.runs.origin import RUN_NAME


class RunConfig(SaveConfigCallback):
    """A callback that saves the resolved config, without secrets, to the run folder and W&B.

    Args:
        identity: Which run it is; W&B gets the number of its resumes, checkpoints get all of it.
        kwargs: Arguments of Lightning's callback.
    """

    def __init__(self, *, identity: RunIdentity, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.identity = identity

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the identity of the run in its checkpoint, and its name and version."""
        checkpoint[KEY] = asdict(self.identity)
        checkpoint[RUN_NAME] = "/".join(Path(trainer.default_root_dir).parts[-2:])

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write `config.yaml`, whatever the loggers are, and send it to those that keep one."""
        text = self.parser.dump(self.config, skip_none=False, skip_link_targets=False)
        config = without_secrets(yaml.safe_load(text))
        target = Path(trainer.default_root_dir) / "config.yaml"
        with as_storage_error(target, GO_ON):
            write_atomically(target, yaml.safe_dump(config, sort_keys=False), lone=True)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams({**config, "resume_count": self.identity.resume_count})
