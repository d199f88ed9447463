"""Starting weights of a fit: ImageNet's, a file of 2D weights, or checkpoints of other runs."""

import inspect
import json
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.editions import Edition
from datamodules.errors import UserError, as_user_error
from models import VideoNetwork, WeightReport, get_model, imagenet_state_dict, load_weights
from models.checkpointing import checkpoint_blocks
from models.norm import freeze_batch_norm, set_batch_norm_momentum, split_batch_norm
from models.registry import MODELS
from models.weights import as_state_dict, read_weights_file

_OPTIONS_OF_2D_WEIGHTS = {"stride_on": "3x3"}
"""Options that torchvision's networks have by their nature, so far as no weight shows them."""


@as_user_error()
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
        UserError: If a source does not exist, does not fit the network or was trained with
            options that mean something else by the same weights, two hold the same part, or one has
            seen test videos of the data.
    """
    sources = [source] if isinstance(source, str) else list(source)
    if not sources:
        raise UserError("init_from is an empty list; give a source, or null for none")
    contents = {path: read_weights_file(path) for path in sources if path != "imagenet"}
    runs = {path: content for path, content in contents.items() if _is_checkpoint(content)}
    if len(runs) == len(sources):
        for path, content in runs.items():
            data.refuse_other_split(content["protocol"]["dataset"], f"{path} of init_from")
            _refuse_other_options(network, _network_of(content, path).unseen_options, path)
        weights, names = _merge_runs(runs)
        return load_weights(network, weights, class_names=class_names, source_class_names=names)
    if len(sources) != 1:
        others = ", ".join(path for path in sources if path not in runs)
        raise UserError(
            f"init_from lists {len(sources)} sources, of which {others} is no checkpoint of a run; "
            "only checkpoints can be joined: give them alone, or one source"
        )
    if network.pretrained_arch is None:
        raise UserError(
            f"init_from={sources[0]} does not fit: this network has no ImageNet counterpart; give "
            "a checkpoint of the same network, or null"
        )
    _refuse_other_options(network, _OPTIONS_OF_2D_WEIGHTS, sources[0])
    if sources[0] == "imagenet":
        return load_weights(network, imagenet_state_dict(network.pretrained_arch))
    return load_weights(network, as_state_dict(contents[sources[0]], sources[0]))


def _is_checkpoint(content: Any) -> bool:
    return isinstance(content, dict) and "class_names" in content and "state_dict" in content


def _network_of(run: Mapping[str, Any], path: str) -> VideoNetwork:
    """The network of a run, without weights: what was null has its default."""
    given = run["hyper_parameters"]
    if given["network"] not in MODELS:
        raise UserError(
            f"{path} of init_from holds the network {given['network']!r}, which there is no more; "
            "give a checkpoint of one of list_models()"
        )
    factory = pkgutil.resolve_name(MODELS[given["network"]])
    options = [name for name in inspect.signature(factory).parameters if name in given]
    chosen = {name: given[name] for name in options if given[name] is not None}
    with torch.device("meta"):
        return get_model(given["network"], **{"num_classes": given["num_classes"], **chosen})


def _refuse_other_options(
    network: VideoNetwork, trained: Mapping[str, object], source: str
) -> None:
    """Refuse weights that would load into a network in which they mean something else."""
    for name, value in network.unseen_options.items():
        if name in trained and trained[name] != value:
            word = trained[name] if isinstance(trained[name], str) else json.dumps(trained[name])
            raise UserError(
                f"{source} of init_from was trained with another {name}, which no weight shows; "
                f"set --model.{name} {word}"
            )


def _merge_runs(runs: dict[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of all runs under the network's own names, and their classes."""
    merged: dict[str, Tensor] = {}
    class_names: list[str] = []
    for path, content in runs.items():
        names = list(content["class_names"])
        if merged and names != class_names:
            raise UserError(
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
            raise UserError(
                f"{path} of init_from holds {twice[0]} and {len(twice) - 1} more weights that "
                "another source holds too; give checkpoints of different parts of the network"
            )
        merged |= weights
    return merged, class_names


def prepare_network(network: VideoNetwork, arguments: Mapping[str, Any]) -> None:
    """Set a network up for training as a module's arguments say, in place.

    Args:
        network: A new network.
        arguments: `bn_momentum`, `bn_batch`, `frozen_bn` and `checkpoint_activations`, as
            `VideoClassifier` documents them.

    Raises:
        UserError: If the network has nothing that an argument could apply to.
    """
    store_channels_last(network)
    if arguments["bn_momentum"] is not None:
        set_batch_norm_momentum(network, arguments["bn_momentum"])
    if arguments["bn_batch"] is not None:
        split_batch_norm(network, num_groups=1)  # each training step sets how many
    if arguments["frozen_bn"] != "none":
        freeze_batch_norm(network, keep_first=arguments["frozen_bn"] == "all_but_first")
    if arguments["checkpoint_activations"]:
        checkpoint_blocks(network)


def store_channels_last(network: VideoNetwork) -> None:
    """Lay the kernels out in memory as `VideoClassifier.inputs` does the clips."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
