"""Trained modules from checkpoints: the file alone is enough, nothing in it is executed."""

from pathlib import Path

from lightning_modules.base import VideoClassifier
from lightning_modules.weights.hub import SCHEME, hub_file


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


def local_checkpoint(path: str | Path) -> Path | str:
    """Get the local file of a checkpoint that may lie on the Hub; see `open_checkpoint`."""
    return hub_file(str(path)) if str(path).startswith(SCHEME) else path
