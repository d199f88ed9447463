"""Checks of what a user gives to a module, before anything is built."""

import inspect
from collections.abc import Mapping, Sequence, Set
from typing import Any

from datamodules.errors import UserError
from models import list_models

_AT_LEAST_ZERO = (
    "lr",
    "weight_decay",
    "warmup_epochs",
    "bias_lr_multiplier",
    "norm_scale_lr_multiplier",
    "head_lr_multiplier",
)


def check_arguments(
    arguments: Mapping[str, Any], families: Sequence[str], owner: type[Any]
) -> None:
    """Check a module's arguments.

    Args:
        arguments: Values by name.
        families: First parts of the network names that the module trains; empty for all.
        owner: The module's class; its own defaults count as not given.

    Raises:
        UserError: If the network is of another family, a number is out of its range, a setting
            has no effect, or schedule and milestones do not fit.
    """
    network = arguments["network"]
    if network in list_models() and families and network.rpartition("_")[0] not in families:
        raise UserError(
            f"{owner.__name__} trains {' and '.join(families)} networks, got {network}; choose one "
            "of those with --model.network, or another --model"
        )
    for name in _AT_LEAST_ZERO:
        if arguments[name] < 0:
            raise UserError(f"model.{name}={arguments[name]} must be at least 0")
    if not 0 <= arguments["label_smoothing"] < 1:
        raise UserError(f"model.label_smoothing={arguments['label_smoothing']} must lie in [0, 1)")
    for name in ("bn_momentum", "ema_decay"):
        if arguments[name] is not None and not 0 < arguments[name] < 1:
            raise UserError(f"model.{name}={arguments[name]} must lie between 0 and 1")
    for name in ("bn_batch", "reference_batch"):
        if arguments[name] is not None and arguments[name] < 1:
            raise UserError(f"model.{name}={arguments[name]} must be at least 1")
    _refuse_without_effect(arguments, _given(arguments, owner))
    _check_schedule(arguments)


def _given(arguments: Mapping[str, Any], owner: type[Any]) -> set[str]:
    """Names of the arguments that are not the class's defaults."""
    defaults: dict[str, Any] = {}
    for cls in reversed(owner.__mro__):
        if "__init__" in vars(cls):
            for name, parameter in inspect.signature(cls).parameters.items():
                defaults[name] = parameter.default
    return {name for name, value in arguments.items() if value != defaults.get(name)}


def _refuse_without_effect(arguments: Mapping[str, Any], given: Set[str]) -> None:
    """Refuse settings that were given and that others make void."""
    void: dict[str, str] = {}
    if arguments["optimizer"] != "sgd":
        why = f"is for sgd, and the optimizer is {arguments['optimizer']}; leave it out"
        void |= dict.fromkeys(("momentum", "nesterov"), why)
    if arguments["frozen_bn"] == "all":
        why = (
            "has no effect, as model.frozen_bn=all freezes every batch normalization; leave one out"
        )
        void |= dict.fromkeys(("bn_batch", "bn_momentum"), why)
    for name, why in void.items():
        if name in given and arguments[name]:
            raise UserError(f"model.{name}={arguments[name]} {why}")


def _check_schedule(arguments: Mapping[str, Any]) -> None:
    if not 0 < arguments["gamma"] <= 1:
        raise UserError(f"model.gamma={arguments['gamma']} must lie in (0, 1]")
    if not 0 <= arguments["momentum"] < 1:
        raise UserError(f"model.momentum={arguments['momentum']} must lie in [0, 1)")
    schedule, milestones = arguments["schedule"], list(arguments["milestones"])
    if milestones != sorted(set(milestones)) or min(milestones, default=1) < 1:
        raise UserError(f"model.milestones={milestones} must be epochs from 1 on, in order")
    if milestones and milestones[0] < arguments["warmup_epochs"]:
        raise UserError(
            f"model.milestones={milestones} begin before the warm-up ends, with "
            f"model.warmup_epochs={arguments['warmup_epochs']}; change one of them"
        )
    if (schedule == "step") != bool(milestones):
        raise UserError(
            f"the schedule {schedule!r} and milestones {milestones} do not fit: `step` needs "
            "milestones, other schedules ignore them; change model.schedule or model.milestones"
        )
