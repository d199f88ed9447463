"""Checks of what a user gives to a module, before anything is built."""

from collections.abc import Mapping, Sequence
from typing import Any

from models import list_models

_AT_LEAST_ZERO = (
    "lr",
    "weight_decay",
    "warmup_epochs",
    "bias_lr_multiplier",
    "norm_scale_lr_multiplier",
    "head_lr_multiplier",
)


def check_arguments(arguments: Mapping[str, Any], families: Sequence[str], owner: str) -> None:
    """Check a module's arguments.

    Args:
        arguments: Values by name.
        families: First parts of the network names that the module trains; empty for all.
        owner: Name of the module's class.

    Raises:
        ValueError: If the network is of another family, a number is out of its range, or schedule
            and milestones do not fit.
    """
    network = arguments["network"]
    if network in list_models() and families and network.rpartition("_")[0] not in families:
        raise ValueError(
            f"{owner} trains {' and '.join(families)} networks, got {network}; choose one of those "
            "with --model.network, or another --model"
        )
    for name in _AT_LEAST_ZERO:
        if arguments[name] < 0:
            raise ValueError(f"model.{name}={arguments[name]} must be at least 0")
    if not 0 <= arguments["label_smoothing"] < 1:
        raise ValueError(f"model.label_smoothing={arguments['label_smoothing']} must lie in [0, 1)")
    for name in ("bn_momentum", "ema_decay"):
        if arguments[name] is not None and not 0 < arguments[name] < 1:
            raise ValueError(f"model.{name}={arguments[name]} must lie between 0 and 1")
    if arguments["bn_batch"] is not None and arguments["bn_batch"] < 1:
        raise ValueError(f"model.bn_batch={arguments['bn_batch']} must be at least 1")
    schedule, milestones = arguments["schedule"], arguments["milestones"]
    if (schedule == "step") != bool(milestones):
        raise ValueError(
            f"the schedule {schedule!r} and milestones {list(milestones)} do not fit: `step` needs "
            "milestones, other schedules ignore them; change model.schedule or model.milestones"
        )
