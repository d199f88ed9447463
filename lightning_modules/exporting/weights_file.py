"""A checkpoint as a file of safetensors: the weights, and what describes them as its metadata.

`predict`, `test`, `export` and `init_from` take it as they take a checkpoint. It holds nothing to
go on training from.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from datamodules.atomic import path_beside
from datamodules.errors import as_user_error
from lightning_modules.runs.folder import KEY as RUN
from lightning_modules.runs.origin import RUN_NAME, WRITTEN_AS
from lightning_modules.weights.imported import IMPORTED
from models.weights_file import DESCRIPTION, digest_of_tensors, safetensors_library

_KEPT = (
    *("module", "hyper_parameters", "network", "class_names", "label_form", "input_spec"),
    *("protocol", "library_versions", "pytorch-lightning_version", "epoch", "global_step"),
    *(RUN, RUN_NAME, WRITTEN_AS, IMPORTED),
)
"""Parts of a checkpoint that describe its weights."""


def write_safetensors(content: Mapping[str, Any], path: Path) -> None:
    """Write the weights of a checkpoint, and read them again.

    Args:
        content: Content of the checkpoint.
        path: The file, with the suffix `.safetensors`, which tells how it is to be read.

    Raises:
        UserError: If the package safetensors is missing.
        OSError: If the file cannot be written.
    """
    with as_user_error():
        library = safetensors_library()
    weights = {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in content["state_dict"].items()
    }
    about = {key: content[key] for key in _KEPT if key in content}
    about["callbacks"] = _how_chosen(content)
    about["digest"] = digest_of_tensors(weights)
    with path_beside(path, lone=True) as part:
        # `save_file` makes a file that nobody but its owner may read
        part.write_bytes(library.torch.save(weights, {DESCRIPTION: json.dumps(about)}))
        written = library.torch.load_file(part)
        if digest_of_tensors(written) != about["digest"]:
            raise OSError(f"{path} does not hold what was written to it")


def _how_chosen(content: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Keep of the callbacks' states what tells whether these are the best weights."""
    return {
        name: {"best_model_path": Path(state["best_model_path"]).name, "monitor": state["monitor"]}
        for name, state in content.get("callbacks", {}).items()
        if isinstance(state, Mapping) and state.get("best_model_path") and state.get("monitor")
    }
