"""Weights from elsewhere: ImageNet into video networks, other runs into new ones, with a report.

2D weights load as they are, under the names that the network gives them
(`VideoNetwork.expand_key`; in a network of two streams one 2D weight goes to both). Where shapes
differ, the network's own rule applies (`VideoNetwork.adapt_weight`; by default a kernel is repeated
over time and divided by its temporal size). Classifiers load by the names of the classes. Whatever
fits nowhere is an error: a weight is left out only for a reason that the report names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.layers import VideoNetwork

_OTHER_CLASSES = "classifier of other classes"
_UNNAMED_CLASSES = "classifier, class names not given on both sides"
_NAMES_SHOWN = 4


@dataclass
class WeightReport:
    """Report of the use of every weight.

    Names are the network's own. Every name that a weight of the source goes to is in exactly one
    of `loaded`, `inflated` and `skipped`; every parameter and buffer of the network that got
    nothing is in `new`.

    Attributes:
        loaded: Taken over as they are (classifiers: row by row, by class name).
        inflated: Taken over in another shape, by the network's rule.
        skipped: Left out, with the reason.
        new: Parameters and buffers that keep their own values, parameters first.
        matched_classes: Classes whose classifier rows were taken over.
    """

    loaded: list[str] = field(default_factory=list)
    inflated: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    matched_classes: int = 0

    def __str__(self) -> str:
        classes = f"; classifier rows of {self.matched_classes} classes"
        lines = [
            f"loaded   {_abbreviate(self.loaded)}{classes if self.matched_classes else ''}",
            f"inflated {_abbreviate(self.inflated)}",
            f"skipped  {_abbreviate([f'{key} ({why})' for key, why in self.skipped.items()])}",
            f"new      {_abbreviate(self.new)}",
        ]
        return "\n".join(lines)


def _abbreviate(names: Sequence[str]) -> str:
    """Format the number of names, and the first few of them."""
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    tail = f" and {more} more" if more > 0 else ""
    return f"{len(names):4d}" + (f": {shown}{tail}" if names else "")


def as_state_dict(content: Any, path: str | Path) -> dict[str, Tensor]:
    """Check that the content of a file is a mapping from names to tensors, and return it.

    Args:
        content: Return value of `read_weights_file`.
        path: The file, for the error.

    Raises:
        ValueError: The content is something else.
    """
    if not isinstance(content, dict) or not content:
        raise ValueError(f"source {path} holds a {type(content).__name__}, not a state dict")
    other = [
        str(key)
        for key, value in content.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if other:
        raise ValueError(
            f"source {path} is not a state dict: {_abbreviate(other).strip()} name no tensor; "
            "save it with torch.save(network.state_dict(), path)"
        )
    return content


def load_weights(
    network: VideoNetwork,
    state_dict: Mapping[str, Tensor],
    *,
    class_names: Sequence[str] | None = None,
    source_class_names: Sequence[str] | None = None,
) -> WeightReport:
    """Load weights into a network, in place; on an error the network is as it was.

    Args:
        network: The network, on any device.
        state_dict: Name to tensor, under the network's own names or those of a 2D network.
        class_names: The network's classes. Its classifier loads the rows of those that the source
            has by the same name; the other rows keep their values.
        source_class_names: The classes of the source's classifier.

    Returns:
        The use of every weight.

    Raises:
        ValueError: A weight belongs nowhere, does not fit or is not finite, the source lacks
            weights that the network cannot do without or holds only a part of those that a 2D
            network lacks, or class names do not agree with a classifier.
    """
    report = WeightReport()
    rows = _match_classes(network, class_names, source_class_names)
    values = _match_weights(network, state_dict, rows, source_class_names, report)
    check_finite(values)
    report.new = _new_names(network, values)
    if any(_is_classifier(network, name) for name in values):
        report.matched_classes = len(rows or ())
    target = network.state_dict()
    with torch.no_grad():
        for name, value in values.items():
            target[name].copy_(value)
    return report


def _match_weights(
    network: VideoNetwork,
    state_dict: Mapping[str, Tensor],
    rows: Mapping[int, int] | None,
    source_class_names: Sequence[str] | None,
    report: WeightReport,
) -> dict[str, Tensor]:
    """Return values by the network's names, in its shapes; note the use of each in report."""
    target = network.state_dict()
    values: dict[str, Tensor] = {}
    misfits = []
    renamed = [(name, state_dict[key]) for key in state_dict for name in network.expand_key(key)]
    for name, weight in renamed:
        if name not in target:
            misfits.append(f"{name} (no such weight)")
        elif name in values or name in report.skipped:
            misfits.append(f"{name} (given twice)")
        elif _is_classifier(network, name):
            if rows:
                values[name] = _replace_rows(name, target[name], weight, rows, source_class_names)
                report.loaded.append(name)
            else:
                report.skipped[name] = _UNNAMED_CLASSES if rows is None else _OTHER_CLASSES
        elif weight.shape == target[name].shape:
            values[name] = weight
            report.loaded.append(name)
        else:
            adapted = network.adapt_weight(name, weight, target[name].shape)
            if adapted is None:
                misfits.append(f"{name} {tuple(weight.shape)} for {tuple(target[name].shape)}")
            else:
                values[name] = adapted
                report.inflated.append(name)
    if misfits:
        raise ValueError(
            f"the weights are not of this network; these fit nowhere: {_abbreviate(misfits)}"
        )
    return values


def check_finite(values: Mapping[str, Tensor]) -> None:
    """Refuse infinite and NaN weights, which would make every output NaN, without a word.

    Args:
        values: Weights by name.

    Raises:
        ValueError: Some are not finite.
    """
    bad = [
        name
        for name, value in values.items()
        if value.is_floating_point() and not value.is_meta and not value.isfinite().all()
    ]
    if bad:
        raise ValueError(
            f"the weights hold NaN or infinite values, in {_abbreviate(bad).strip()}; give a "
            "checkpoint from before the training diverged"
        )


def _is_classifier(network: VideoNetwork, key: str) -> bool:
    """Return True if a weight belongs to a classifier."""
    return key.rpartition(".")[0] in network.classifiers


def _match_classes(
    network: VideoNetwork,
    class_names: Sequence[str] | None,
    source_class_names: Sequence[str] | None,
) -> dict[int, int] | None:
    """Map rows of the network's classifier to the source's; None when names are missing."""
    if class_names is None or source_class_names is None:
        return None
    if len(class_names) != network.num_classes:
        raise ValueError(
            f"class_names has {len(class_names)} names for a network of {network.num_classes} "
            "classes; give one name per class"
        )
    for argument, names in (
        ("class_names", class_names),
        ("source_class_names", source_class_names),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{argument} holds {_abbreviate(twice).strip()} more than once")
    source_row = {name: row for row, name in enumerate(source_class_names)}
    return {row: source_row[name] for row, name in enumerate(class_names) if name in source_row}


def _replace_rows(
    key: str,
    own: Tensor,
    source: Tensor,
    rows: Mapping[int, int],
    source_class_names: Sequence[str] | None,
) -> Tensor:
    """Fill a classifier's weight or bias with the rows of the classes that both sides know."""
    num_source = len(source_class_names or ())
    if source.shape[:1] != (num_source,) or source.shape[1:] != own.shape[1:]:
        raise ValueError(
            f"{key} of the source is {tuple(source.shape)}, where {num_source} source_class_names "
            f"and this network need {(num_source, *own.shape[1:])}"
        )
    merged = own.clone()
    merged[list(rows)] = source[list(rows.values())].to(own)
    return merged


def _new_names(network: VideoNetwork, values: Mapping[str, Tensor]) -> list[str]:
    """List names that got nothing, parameters first; refuse any that needs pretrained values."""
    parameters = [name for name, _ in network.named_parameters() if name not in values]
    buffers = [name for name in network.state_dict() if name not in values]
    buffers = [name for name in buffers if name not in set(parameters)]
    needed = [
        name
        for name in parameters + buffers
        if not _is_classifier(network, name) and not name.endswith("num_batches_tracked")
    ]
    missing = [name for name in needed if not _is_own(network, name)]
    if missing:
        raise ValueError(
            f"the weights are of a smaller or another network; they lack {_abbreviate(missing)}"
        )
    held = [name for name in values if _is_own(network, name)]
    if needed and held:
        raise ValueError(
            f"the weights hold {_abbreviate(held).strip()} but lack {_abbreviate(needed).strip()}; "
            "give all weights of this family's own layers, or those of a network without them"
        )
    return parameters + buffers


def _is_own(network: VideoNetwork, name: str) -> bool:
    """Return True for a weight of the layers that pretrained 2D networks lack."""
    return any(fnmatchcase(name, pattern) for pattern in network.new_parameters)
