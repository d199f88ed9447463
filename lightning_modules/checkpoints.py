"""Opening a checkpoint: the file alone is enough, and nothing in it is executed."""

import pickle
from pathlib import Path
from typing import Any

import torch

import lightning_modules
from lightning_modules.base import VideoClassifier


def open_checkpoint(path: str | Path) -> VideoClassifier:
    """The trained module of a checkpoint, on the CPU and in evaluation mode.

    Args:
        path: A checkpoint of this project, a local file.

    Returns:
        An instance of the family's class, with `class_names` and `input_spec`.

    Raises:
        ValueError: If the path is an address, is missing, or is not such a checkpoint.
    """
    check_checkpoint_path(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(
            f"{path} is not a checkpoint that can be opened safely: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    if not isinstance(content, dict) or "input_spec" not in content:
        raise ValueError(
            f"{path} is not a checkpoint of a fit of this project: it does not say what it was "
            "trained on; give a file from a run folder's checkpoints/"
        )
    module = _class_of(content).load_from_checkpoint(path, map_location="cpu", weights_only=True)
    assert isinstance(module, VideoClassifier)
    return module.eval()


def check_checkpoint_path(path: str | Path) -> None:
    """Refuse what cannot be a local checkpoint file.

    Raises:
        ValueError: If the path is an address or is missing.
    """
    if "://" in str(path):
        raise ValueError(f"{path} is an address; download the checkpoint and give the local file")
    if not Path(path).is_file():
        raise ValueError(f"there is no checkpoint {path}; check --ckpt_path")


def _class_of(content: dict[str, Any]) -> type[VideoClassifier]:
    """The class to load; Lightning itself finds that of a fit from the command line.

    Raises:
        ValueError: If the file names a class that is not one of ours.
    """
    for name in lightning_modules.__all__:
        public = getattr(lightning_modules, name)
        if isinstance(public, type) and name == content["module_class"].rsplit(".", 1)[-1]:
            assert issubclass(public, VideoClassifier)
            return public
    if "_class_path" in content["hyper_parameters"]:  # a plugin's class
        return VideoClassifier
    raise ValueError(f"the checkpoint holds an unknown class, {content['module_class']}")
