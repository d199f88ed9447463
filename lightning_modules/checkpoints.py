"""Trained modules from checkpoints: the file alone is enough, nothing in it is executed."""

from pathlib import Path

from datamodules.storage.hub import local_checkpoint
from lightning_modules.base import VideoClassifier


def open_checkpoint(path: str | Path) -> VideoClassifier:
    """Open the trained module of a checkpoint, on the CPU and in evaluation mode.

    Args:
        path: A checkpoint of this project, a local file; or `hf://OWNER/NAME` on the Hub.

    Returns:
        An instance of the family's class, with `class_names` and `input_spec`.

    Raises:
        UserError: If the path is another address, is missing, or is not such a checkpoint, or if
            its class is part of a plugin that is not there.
    """
    return VideoClassifier.load_from_checkpoint(local_checkpoint(path)).eval()
