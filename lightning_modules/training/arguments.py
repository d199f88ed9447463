"""Checks of what a user gives to a module, before anything is built."""

import functools
import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from datamodules.errors import UserError
from datamodules.plugins.described import plain
from lightning_modules.training.frozen import Frozen
from lightning_modules.training.optim import BatchNorm, Optimization
from models import VideoNetwork, list_models
from models.adapters import is_library_name


def check_network_name(network: str, families: Sequence[str], owner: type[Any]) -> None:
    """Check that a network is one that a module trains.

    Args:
        network: The network's name; those of a plugin hold a dot and are not checked, those of
            another library a colon, for `VideoClassifier` and plugins' modules alone.
        families: First parts of the network names that the module trains; empty for all.
        owner: The module's class.

    Raises:
        UserError: If the network is of another family.
    """
    if is_library_name(network) and families:
        raise UserError(
            f"{owner.__name__} trains {' and '.join(families)} networks, and {network} is another "
            "library's; choose --model VideoClassifier for it"
        )
    if network in list_models() and families and network.rpartition("_")[0] not in families:
        raise UserError(
            f"{owner.__name__} trains {' and '.join(families)} networks, got {network}; choose one "
            "of those with --model.network, or another --model"
        )


def refuse_without_effect(
    optimization: Optimization, batch_norm: BatchNorm, frozen: Frozen, owner: type[Any]
) -> None:
    """Refuse settings that were given and that others make void.

    Args:
        optimization: How to optimize.
        batch_norm: How batch normalization is trained.
        frozen: What does not learn.
        owner: The module's class; its own defaults count as not given.

    Raises:
        UserError: If one has no effect.
    """
    void: dict[str, str] = {}
    if optimization.optimizer != "sgd":
        why = f"is for sgd, and the optimizer is {_name(optimization.optimizer)}; leave it out"
        void |= dict.fromkeys(("optimization.momentum", "optimization.nesterov"), why)
    if optimization.optimizer != "adamw":
        why = f"is for adamw, and the optimizer is {_name(optimization.optimizer)}; leave it out"
        void["optimization.betas"] = why
    if not isinstance(optimization.optimizer, str):
        why = "is for sgd and adamw; give it as an argument of the optimizer instead"
        void |= dict.fromkeys(("optimization.lr", "optimization.weight_decay"), why)
    if not isinstance(optimization.schedule, str):
        why = f"has no effect on the schedule {_name(optimization.schedule)}; leave it out"
        void |= dict.fromkeys(("optimization.gamma", "optimization.warmup_epochs"), why)
    if batch_norm.frozen == "all":
        why = (
            "has no effect, as model.batch_norm.frozen=all freezes every batch normalization; "
            "leave one out"
        )
        void |= dict.fromkeys(("batch_norm.batch_size", "batch_norm.momentum"), why)
    if frozen == "trunk":
        why = (
            "has no effect, as model.frozen=trunk freezes every batch normalization; leave one out"
        )
        void |= dict.fromkeys(
            ("batch_norm.batch_size", "batch_norm.momentum", "batch_norm.frozen"), why
        )
    given = _given("optimization", optimization, owner) | _given("batch_norm", batch_norm, owner)
    for name, why in void.items():
        if given.get(name):
            raise UserError(f"model.{name}={given[name]} {why}")


def _given(group: str, settings: Any, owner: type[Any]) -> dict[str, Any]:
    """List the settings of a group that are not the class's defaults, by key."""
    for cls in owner.__mro__:
        found = inspect.signature(cls).parameters.get(group) if "__init__" in vars(cls) else None
        if found is not None:
            values = {field.name: getattr(settings, field.name) for field in fields(settings)}
            default = found.default
            return {f"{group}.{k}": v for k, v in values.items() if v != getattr(default, k)}
    return {}


def _name(value: Any) -> str:
    return value if isinstance(value, str) else "of your own"


def plain_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a module's arguments to a form that a checkpoint can hold.

    What only a fit needs and what is an object (a loss, metrics) is left out: the module can be
    made again without it.

    Args:
        given: The arguments, as the constructor got them.

    Raises:
        UserError: If another argument is no plain value.
    """
    values = {**given, **{name: None for name in ("loss", "metrics") if name in given}}
    optimization = values.get("optimization")
    if isinstance(optimization, Optimization):
        names = [field.name for field in fields(optimization)]
        values["optimization"] = {name: _named(getattr(optimization, name)) for name in names}
    return {name: plain(value, f"model.{name}") for name, value in values.items()}


def looked_up(
    network: VideoNetwork, arguments: Mapping[str, Any], taken: Collection[str], owner: type[Any]
) -> dict[str, Any]:
    """Return `network_kwargs` with what a network read elsewhere, so that it need not again.

    Args:
        network: The network.
        arguments: The module's arguments, plain.
        taken: Names of the arguments that the module takes.
        owner: The module's class.

    Raises:
        UserError: If the module takes no `network_kwargs`, so that no checkpoint could hold it.
    """
    if not network.stored_options:
        return {}
    if "network_kwargs" not in taken:
        raise UserError(
            f"{owner.__name__} has no argument network_kwargs, in which a checkpoint holds the "
            "config of its network; train it with --model VideoClassifier"
        )
    given = arguments.get("network_kwargs") or {}
    return {"network_kwargs": {**given, **network.stored_options}}


def _named(value: Any) -> Any:
    """Describe an optimizer's or schedule's class by its import path; keep other values."""
    if not callable(value):
        return value
    made, arguments = value, {}
    if isinstance(value, functools.partial):
        made, arguments = value.func, dict(value.keywords)
    name = getattr(made, "__qualname__", type(made).__qualname__)
    return {"class_path": f"{made.__module__}.{name}", "init_args": arguments}
