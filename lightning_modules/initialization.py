"""Starting weights of a fit: ImageNet's, a file of 2D weights, or checkpoints of other runs."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.editions import Edition
from models import VideoNetwork, WeightReport, imagenet_state_dict, load_weights


def initialize(
    network: VideoNetwork, source: str | Sequence[str], class_names: Sequence[str], data: Edition
) -> WeightReport:
    """Load starting weights into a network.

    Args:
        network: The network.
        source: `imagenet`, the path of a 2D state dict, or of another run's checkpoint; or several
            checkpoints that hold different parts of the network, such as its two streams.
        class_names: The network's classes.
        data: What the network will be tested on; weights that have seen it are refused.

    Returns:
        The report of what was loaded, inflated, skipped and left new; print it.

    Raises:
        ValueError: If a source does not exist, does not fit the network, two hold the same part,
            or one has seen test videos of the data.
    """
    sources = [source] if isinstance(source, str) else list(source)
    if not sources:
        raise ValueError("init_from is an empty list; give a source, or null for none")
    contents = {path: read_weights_file(path) for path in sources if path != "imagenet"}
    runs = {path: content for path, content in contents.items() if _is_checkpoint(content)}
    if len(runs) == len(sources):
        for path, content in runs.items():
            data.refuse_other_split(content["protocol"]["dataset"], f"{path} of init_from")
        weights, names = _merge_runs(runs)
        return load_weights(network, weights, class_names=class_names, source_class_names=names)
    if len(sources) != 1:
        others = ", ".join(path for path in sources if path not in runs)
        raise ValueError(
            f"init_from lists {len(sources)} sources, of which {others} is no checkpoint of a run; "
            "only checkpoints can be joined: give them alone, or one source"
        )
    if network.pretrained_arch is None:
        raise ValueError(
            f"init_from={sources[0]} does not fit: this network has no ImageNet counterpart; give "
            "a checkpoint of the same network, or null"
        )
    return load_weights(network, imagenet_state_dict(network.pretrained_arch, sources[0]))


def read_weights_file(path: str | Path) -> Any:
    """What a file of weights or a checkpoint holds; nothing in it is executed.

    Raises:
        ValueError: If the path is an address, is missing, or is no such file.
    """
    if "://" in str(path):
        raise ValueError(f"{path} is an address; download the file and give the local path")
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path} to take weights from; check the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not a checkpoint or weights file that can be opened safely"
        ) from error


def _is_checkpoint(content: Any) -> bool:
    return isinstance(content, dict) and "class_names" in content and "state_dict" in content


def _merge_runs(runs: dict[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of all runs under the network's own names, and their classes."""
    merged: dict[str, Tensor] = {}
    class_names: list[str] = []
    for path, content in runs.items():
        names = list(content["class_names"])
        if merged and names != class_names:
            raise ValueError(
                f"{path} of init_from was trained on other classes than {next(iter(runs))}; give "
                "checkpoints of the same data"
            )
        class_names = names
        weights = {
            name.removeprefix("network."): tensor
            for name, tensor in content["state_dict"].items()
            if name.startswith("network.")
        }
        twice = sorted(merged.keys() & weights.keys())
        if twice:
            raise ValueError(
                f"{path} of init_from holds {twice[0]} and {len(twice) - 1} more weights that "
                "another source holds too; give checkpoints of different parts of the network"
            )
        merged |= weights
    return merged, class_names
