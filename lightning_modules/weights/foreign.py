"""Other people's weights in one of our networks: every value, or a sentence that names the rest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import UserError, as_user_error
from lightning_modules.resume.checkpoint_io import read_content
from lightning_modules.weights.key_names import (
    Code,
    code_of,
    in_our_shape,
    our_name,
    without_wrapper,
)
from models import VideoNetwork
from models.weights import as_state_dict, check_finite

_SCALARS: list[Any] = [
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # as numpy 1 wrote it
    np.float64(0).__reduce__()[0],
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "b1")),
]
"""What a number of numpy is made of: mmaction2 stores accuracies so, beside the weights."""

_NAMED = 4


def read_foreign(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of a file, as it is or below `state_dict`; nothing in it is executed.

    Args:
        path: A local file of `torch.save` or of safetensors.

    Returns:
        Name to tensor, without what wraps every name.

    Raises:
        UserError: If it is an address, is missing, is damaged or holds anything but plain values.
    """
    with torch.serialization.safe_globals(_SCALARS):
        content = read_content(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        if "module" in content:
            raise UserError(
                f"{path} is a checkpoint of this project already; give it to test, predict or "
                "--model.init_from as it is"
            )
        content = dict(content["state_dict"])
    with as_user_error():
        return without_wrapper(as_state_dict(content, path))


def load_foreign(
    network: VideoNetwork, weights: Mapping[str, Tensor], name: str, source: str
) -> Code:
    """Give every weight of a network its value, in place; on an error nothing is changed.

    Args:
        network: The network.
        weights: Name to tensor, of any code of `key_names`.
        name: The network's name, for the error.
        source: The file, for the error.

    Returns:
        The code that wrote them.

    Raises:
        UserError: If one is missing, has no place, has another shape or is not finite; the sentence
            names it.
    """
    code = code_of(list(weights))
    target = network.state_dict()
    values: dict[str, Tensor] = {}
    extra, shapes = [], []
    for key, weight in weights.items():
        ours = our_name(key, code, network)
        if ours not in target or ours in values:
            extra.append(key)
            continue
        values[ours] = in_our_shape(ours, weight, code, target[ours].shape)
        if values[ours].shape != target[ours].shape:
            shapes.append(f"{key} {_axes(weight)} for {_axes(target[ours])}")
    absent = [key for key in target if key not in values and not _is_counter(key)]
    _refuse_other_classes(network, values, source)
    if extra or shapes or absent:
        raise UserError(_misfit(name, source, code, absent, extra, shapes))
    with as_user_error():
        check_finite(values)
    network.load_state_dict({**target, **values})
    return code


def _refuse_other_classes(network: VideoNetwork, values: Mapping[str, Tensor], source: str) -> None:
    """Refuse a classifier of more or fewer classes than were named."""
    for layer in network.classifiers:
        weight = values.get(f"{layer}.weight")
        if weight is not None and len(weight) != network.num_classes:
            raise UserError(
                f"the classifier of {source} has {len(weight)} rows, but --classes names "
                f"{network.num_classes} classes; give the class list that it was trained with"
            )


def _is_counter(key: str) -> bool:
    """Return True for the counters of batch normalization, which old files lack."""
    return key.endswith("num_batches_tracked")


def _axes(weight: Tensor) -> str:
    return "x".join(map(str, weight.shape))


def _misfit(
    name: str,
    source: str,
    code: Code,
    absent: Sequence[str],
    extra: Sequence[str],
    shapes: Sequence[str],
) -> str:
    """Write what does not fit, and what may be meant."""
    parts = [
        f"{words} {_few(keys)}"
        for words, keys in (
            ("it lacks", absent),
            ("it has more:", extra),
            ("of another shape are", shapes),
        )
        if keys
    ]
    return (
        f"{source}, written by {code.name}, does not hold a {name}: {'; '.join(parts)}; give its "
        "network with --network, its options with a recipe (2D weights that are to be trained on "
        "are for --model.init_from)"
    )


def _few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
