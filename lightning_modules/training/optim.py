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
    classifiers: Sequence[str] = ("fc",),
    bias_lr_multiplier: float = 1.0,
    norm_scale_lr_multiplier: float = 1.0,
    head_lr_multiplier: float = 1.0,
    decay_bias: bool = True,
    decay_norm: bool = True,
) -> list[dict[str, Any]]:
    """Divide a network's trainable parameters by what the papers treat differently.

    Args:
        network: Network, of which only the trainable parameters count.
        lr: Base learning rate.
        weight_decay: Weight decay of the weights.
        classifiers: Names of the classifier layers.
        bias_lr_multiplier: Factor on the learning rate of biases (2 in TSN, TSM, SELFY and
            ST-ResNet); those of normalization layers are not meant.
        norm_scale_lr_multiplier: Factor on the learning rate of the scales of normalization layers
            (2 in ST-ResNet's code).
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
                part = "head_" if module_name in classifiers else ""
                members.setdefault(part + _kind_of(module, name), []).append(parameter)
    multipliers = {"biases": bias_lr_multiplier, "norm_scales": norm_scale_lr_multiplier}
    decays = {"biases": decay_bias, "norm_scales": decay_norm, "norm_shifts": decay_norm}
    groups = []
    for name, parameters in members.items():
        kind = name.removeprefix("head_")
        factor = multipliers.get(kind, 1.0) * (1.0 if kind == name else head_lr_multiplier)
        groups.append(
            {
                "name": name,
                "params": parameters,
                "lr": lr * factor,
                "weight_decay": weight_decay if decays.get(kind, True) else 0.0,
            }
        )
    return groups


def _kind_of(module: nn.Module, name: str) -> str:
    if isinstance(module, _NormBase):
        return "norm_scales" if name == "weight" else "norm_shifts"
    return "biases" if name == "bias" else "weights"


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
        schedule: `cosine` falls to 0 after the last step, `step` is multiplied by `gamma` at every
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
