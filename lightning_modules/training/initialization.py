"""Starting weights of a fit: ImageNet's, a library's own, 2D weights, checkpoints of other runs."""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.data_spec import DataSpec
from datamodules.errors import UserError, as_user_error
from datamodules.plugins.trusted import attribute
from datamodules.storage.hub import local_checkpoint
from lightning_modules.resume.checkpoint_io import read_content
from lightning_modules.training.frozen import Frozen, freeze_trunk
from lightning_modules.training.optim import BatchNorm
from models import VideoNetwork, WeightReport, get_model, imagenet_state_dict, load_weights
from models.adapted import AdaptedNetwork
from models.adapters import is_library_name
from models.adapters.library_network import LibraryNetwork
from models.checkpointing import checkpoint_blocks
from models.norm import freeze_batch_norm, set_batch_norm_momentum, split_batch_norm
from models.weights import as_state_dict

_WORDS = ("imagenet", "library")
"""Sources that are no files."""

_OPTIONS_OF_2D_WEIGHTS = {"stride_on": "3x3"}
"""Options that torchvision's networks have by their nature, so far as no weight shows them."""


@as_user_error()
def initialize(
    network: VideoNetwork, source: str | Sequence[str], class_names: Sequence[str], data: DataSpec
) -> WeightReport:
    """Load starting weights into a network.

    Args:
        network: The network.
        source: `imagenet`, `library` (what the library of a `LIBRARY:NAME` network publishes), the
            path of a 2D state dict, or of another run's checkpoint, which may be `hf://OWNER/NAME`
            on the Hub; or several checkpoints that hold different parts of the network, such as its
            two streams.
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
    if sources == ["library"]:
        return _load_published(network, class_names)
    files = {path: local_checkpoint(path) for path in sources if path not in _WORDS}
    contents = {path: read_content(file) for path, file in files.items()}
    runs = {path: content for path, content in contents.items() if _is_checkpoint(content)}
    if len(runs) == len(sources):
        for path, content in runs.items():
            refuse_seen_test_videos(
                content["protocol"]["dataset"], data.dataset, data.seen_by, f"{path} of init_from"
            )
            _refuse_other_options(network, _network_of(content, path).unseen_options, path)
        weights, names = _merge_runs(runs)
        with _told_with(sources):
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
            f"a checkpoint of the same network, {_library_or(network)}or null"
        )
    _refuse_other_options(network, _OPTIONS_OF_2D_WEIGHTS, sources[0])
    if sources[0] == "imagenet":
        return load_weights(network, imagenet_state_dict(network.pretrained_arch))
    weights = as_state_dict(contents[sources[0]], sources[0])
    with _told_with(sources):
        return load_weights(network, weights)


def _load_published(network: VideoNetwork, class_names: Sequence[str]) -> WeightReport:
    """Load what the library of a network publishes of it."""
    if not isinstance(network, LibraryNetwork):
        raise UserError(
            "init_from=library does not fit: no library publishes weights of this network; give "
            "imagenet, a checkpoint or null, or a network LIBRARY:NAME"
        )
    with _told_with(["library"]):
        return network.load_published(class_names)


def _library_or(network: VideoNetwork) -> str:
    return "`library`, " if isinstance(network, LibraryNetwork) else ""


@contextmanager
def _told_with(sources: Sequence[str]) -> Iterator[None]:
    """Name the source in what is said of weights that do not fit."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"init_from={', '.join(sources)}: {error}") from error


def _is_checkpoint(content: Any) -> bool:
    return isinstance(content, dict) and "network" in content and "state_dict" in content


def _network_of(run: Mapping[str, Any], path: str) -> VideoNetwork:
    """Build the network of a run, without weights."""
    with torch.device("meta"):
        try:
            return build_network(**run["network"])
        except ValueError as error:
            raise UserError(
                f"{path} of init_from holds a network that cannot be built here: {error}"
            ) from error


def refuse_seen_test_videos(
    trained_on: str, dataset: str, seen_by: Sequence[str], source: str
) -> None:
    """Refuse weights that have seen the test videos.

    Args:
        trained_on: Name of the dataset, and edition, that they were trained on.
        dataset: What is to be tested on.
        seen_by: Data whose training videos are, in part, its test videos.
        source: Where they come from.

    Raises:
        UserError: If that is another official split of this dataset.
    """
    if trained_on in seen_by:
        raise UserError(
            f"{source} was trained on {trained_on}, among whose training videos are test videos of "
            f"{dataset}; give one of {dataset}, or change data.split"
        )


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
    """Merge the weights of all runs under the network's own names, and their classes."""
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


def build_network(name: str, num_classes: int, options: Mapping[str, Any]) -> VideoNetwork:
    """Build a network: one of ours or of a library by name, or a user's own by import path.

    Args:
        name: One of `models.list_models()`, or `LIBRARY:NAME`, or a class or function of a plugin,
            such as `my_lab.SlowNet`, that takes `num_classes` and the options and returns a module.
        num_classes: Number of classes.
        options: Options of the network.

    Raises:
        UserError: If there is no such network, or it does not take these options.
    """
    if is_library_name(name) or "." not in name:
        with as_user_error():
            return get_model(name, num_classes, **options)
    make = attribute(name)
    try:
        inspect.signature(make).bind(num_classes=num_classes, **options)
    except TypeError as error:
        given = ", ".join(["num_classes", *options])
        raise UserError(
            f"{name} does not take the arguments {given} ({error}); correct model.network_kwargs, "
            "or its signature"
        ) from error
    with as_user_error():
        made = make(num_classes=num_classes, **options)
    if isinstance(made, VideoNetwork):
        return made
    if not isinstance(made, nn.Module):
        raise UserError(f"{name} makes a {type(made).__name__}, not a torch.nn.Module; correct it")
    return AdaptedNetwork(made, num_classes)


@as_user_error()
def prepare_network(
    network: VideoNetwork,
    batch_norm: BatchNorm,
    checkpoint_activations: bool,
    classifier_std: float | None = None,
    frozen: Frozen = "none",
) -> None:
    """Set a network up for training, in place.

    Args:
        network: A new network.
        batch_norm: How its batch normalization is trained.
        checkpoint_activations: Compute blocks again in the backward pass.
        classifier_std: Standard deviation of its classifiers' first weights; None for its own.
        frozen: What does not learn.

    Raises:
        UserError: If the network has nothing that a setting could apply to, or a number is out of
            its range.
    """
    store_channels_last(network)
    if classifier_std is not None:
        draw_classifiers(network, classifier_std)
    if batch_norm.momentum is not None:
        set_batch_norm_momentum(network, batch_norm.momentum)
    if batch_norm.batch_size is not None:
        split_batch_norm(network, num_groups=1)  # each training step sets how many
    if batch_norm.frozen != "none":
        freeze_batch_norm(network, keep_first=batch_norm.frozen == "all_but_first")
    if checkpoint_activations:
        checkpoint_blocks(network)
    if frozen == "trunk":
        freeze_trunk(network)


def draw_classifiers(network: VideoNetwork, std: float) -> None:
    """Draw the weights of a network's classifiers anew, in place.

    The gradient that enters the trunk is proportional to them. The papers' 0.01 suits a trunk that
    has learned already; one that begins at random hardly moves until the classifier has grown,
    which in turn waits for features.

    Args:
        network: A new network.
        std: Standard deviation of the weights, normal with mean 0.

    Raises:
        UserError: If it is not above 0, or no layer of a user's own network is known as one.
    """
    if std <= 0:
        raise UserError(f"model.classifier_std={std} must be above 0; null is the network's own")
    if not network.classifiers:
        raise UserError(
            f"model.classifier_std={std} has nothing to draw: no linear layer of the network gives "
            "a value for each class; leave it out"
        )
    for name in network.classifiers:
        nn.init.normal_(network.get_submodule(name).get_parameter("weight"), std=std)


def store_channels_last(network: VideoNetwork) -> None:
    """Lay the kernels out in memory as `VideoClassifier.inputs` does the clips."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
