"""Opening a checkpoint: the file alone is enough, and nothing in it is executed."""

from pathlib import Path
from typing import Any

import lightning_modules
from datamodules.errors import UserError
from lightning_modules.base import VideoClassifier
from lightning_modules.plugins import allow_known_classes
from lightning_modules.resume.checkpoint_io import read_checkpoint


def open_checkpoint(path: str | Path) -> VideoClassifier:
    """The trained module of a checkpoint, on the CPU and in evaluation mode.

    Args:
        path: A checkpoint of this project, a local file.

    Returns:
        An instance of the family's class, with `class_names` and `input_spec`.

    Raises:
        UserError: If the path is an address, is missing, or is not such a checkpoint.
    """
    allow_known_classes()
    content = read_checkpoint(path)
    module = _class_of(content).load_from_checkpoint(path, map_location="cpu", weights_only=True)
    assert isinstance(module, VideoClassifier)
    return module.eval()


def _class_of(content: dict[str, Any]) -> type[VideoClassifier]:
    """The class to load; Lightning itself finds that of a fit from the command line.

    Raises:
        UserError: If the file names a class that is not one of ours.
    """
    for name in lightning_modules.__all__:
        public = getattr(lightning_modules, name)
        if isinstance(public, type) and name == content["module_class"].rsplit(".", 1)[-1]:
            assert issubclass(public, VideoClassifier)
            return public
    if "_class_path" in content["hyper_parameters"]:  # a plugin's class
        return VideoClassifier
    raise UserError(f"the checkpoint holds an unknown class, {content['module_class']}")
