"""Parameter groups and learning rate schedules: pure functions, no Lightning."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

Schedule = Literal["cosine", "step", "constant"]


def parameter_groups(
    network: nn.Module,
    lr: float,
    weight_decay: float,
    *,
    bias_lr_multiplier: float = 1.0,
    head_lr_multiplier: float = 1.0,
    decay_bias: bool = True,
    decay_norm: bool = True,
) -> list[dict[str, Any]]:
    """Divide a network's trainable parameters by what the papers treat differently.

    Args:
        network: Network whose classifier is called `fc`.
        lr: Base learning rate.
        weight_decay: Weight decay of the weights.
        bias_lr_multiplier: Factor on the learning rate of biases (2 in TSN, TSM and SELFY).
        head_lr_multiplier: Factor on the learning rate of the classifier.
        decay_bias: Whether biases decay.
        decay_norm: Whether the affine parameters of normalization layers decay.

    Returns:
        Groups for a torch optimizer, each with a `name`; every trainable parameter is in exactly
        one of them, and groups without parameters are left out.
    """
    members: dict[str, list[nn.Parameter]] = {}
    for module_name, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                part = "head_" if module_name == "fc" else ""
                kind = "norm" if isinstance(module, _NormBase) else name
                members.setdefault(part + _kind_of(kind), []).append(parameter)
    groups = []
    for name, parameters in members.items():
        factor = head_lr_multiplier if name.startswith("head_") else 1.0
        factor *= bias_lr_multiplier if name.endswith("biases") else 1.0
        exempt = (name == "norms" and not decay_norm) or (
            name.endswith("biases") and not decay_bias
        )
        groups.append(
            {
                "name": name,
                "params": parameters,
                "lr": lr * factor,
                "weight_decay": 0.0 if exempt else weight_decay,
            }
        )
    return groups


def _kind_of(name: str) -> str:
    return {"norm": "norms", "bias": "biases"}.get(name, "weights")


def lr_factor(
    schedule: Schedule,
    total_steps: float,
    steps_per_epoch: float,
    *,
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
    warmup_epochs: float = 0.0,
) -> Callable[[int], float]:
    """Factor on the base learning rate as a function of the optimizer step.

    Args:
        schedule: `cosine` falls to 0 at the last step, `step` is multiplied by `gamma` at every
            milestone, `constant` stays.
        total_steps: Optimizer steps of the whole training; only `cosine` needs it to be finite.
        steps_per_epoch: Optimizer steps of one epoch.
        milestones: Epochs at which `step` lowers the rate.
        gamma: Factor of each milestone.
        warmup_epochs: Length of the linear warm-up from one step's share to the full rate.

    Returns:
        A function from the number of steps taken to the factor.
    """
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    boundaries = [round(epoch * steps_per_epoch) for epoch in milestones]

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if schedule == "step":
            return float(gamma ** sum(step >= boundary for boundary in boundaries))
        if schedule == "constant":
            return 1.0
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))

    return factor
