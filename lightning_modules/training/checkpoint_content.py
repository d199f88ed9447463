"""The parts of a checkpoint of this project, checked before anything is made of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from datamodules.errors import UserError

_PARTS: Mapping[str, type[Any] | tuple[type[Any], ...]] = {
    "module": str,
    "hyper_parameters": Mapping,
    "network": Mapping,
    "network.name": str,
    "network.num_classes": int,
    "network.options": Mapping,
    "state_dict": Mapping,
    "class_names": Sequence,
    "input_spec": Mapping,
    "protocol": Mapping,
    "protocol.dataset": str,
    "protocol.num_clips": int,
    "protocol.num_crops": (int, str),
    "protocol.average": str,
}


def check_content(content: Mapping[str, Any], path: str | Path) -> None:
    """Check that the parts of a checkpoint are there and of their kind.

    Args:
        content: Content of the file, in today's form.
        path: The file.

    Raises:
        UserError: If a part is missing or something else, as in a file that was changed by hand or
            written by another version.
    """
    for name, kind in _PARTS.items():
        part: Any = content
        for key in name.split("."):
            part = part.get(key)
        if not isinstance(part, kind):
            raise _unfit(path, name)
    weights = content["state_dict"].items()
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in weights):
        raise _unfit(path, "state_dict")
    if not all(isinstance(name, str) for name in content["class_names"]):
        raise _unfit(path, "class_names")


def _unfit(path: str | Path, part: str) -> UserError:
    return UserError(
        f"{path} is not a whole checkpoint of this version: its {part} is missing or of another "
        "kind; give the file as a fit wrote it, or the version of kinetoscope that wrote it"
    )
