"""Optimizer, schedule and batch normalization: settings, parameter groups, rates; no Lightning."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from datamodules.errors import UserError
from datamodules.plugins.trusted import attribute

Schedule = Literal["cosine", "step", "constant"]
FrozenNorms = Literal["none", "all", "all_but_first"]


@dataclass(frozen=True)
class Optimization:
    """Settings of the optimizer and the schedule.

    Attributes:
        optimizer: `sgd`, `adamw`, or a class of torch or of your own, whose own arguments then hold
            the rate and the decay.
        lr: Base learning rate, for `reference_batch` clips a step where that is given.
        reference_batch: Clips per optimizer step that the rate is meant for; it is scaled by the
            batch really used (devices x batch size x accumulation). Null: the rate as it is.
        momentum: Momentum of SGD.
        nesterov: Use Nesterov's form in SGD.
        betas: Memory of AdamW: of the mean of the gradient, and of that of its square. The steps
            stay small for about 1 / (1 - the latter) steps after gradients have become small.
        weight_decay: Weight decay.
        schedule: `cosine`, `step` or `constant`, per optimizer step, or a scheduler of torch or of
            your own, stepped after each optimizer step (`ReduceLROnPlateau`: by `val/loss` after
            each epoch).
        milestones: Epochs at which `step` lowers the rate.
        gamma: Factor of each milestone.
        warmup_epochs: Length of the linear warm-up, in epochs.
        bias_lr_multiplier: Factor on the learning rate of biases; those of normalization layers
            are not meant.
        norm_scale_lr_multiplier: Factor on the learning rate of the scales of normalization layers.
        head_lr_multiplier: Factor on the learning rate of the classifier.
        decay_bias: Decay biases.
        decay_norm: Decay the affine parameters of normalization layers.
        ema_decay: Decay per step of a moving average of weights and running statistics, which is
            then what is validated and tested; a checkpoint holds both. Null for none. Refused where
            the precision keeps weights in 16 bits.

    Raises:
        UserError: If a number is out of its range, or schedule and milestones do not fit.
    """

    optimizer: Literal["sgd", "adamw"] | OptimizerCallable = "sgd"
    lr: float = 0.01
    reference_batch: int | None = None
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    schedule: Schedule | LRSchedulerCallable = "cosine"
    milestones: Sequence[int] = ()
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    bias_lr_multiplier: float = 1.0
    norm_scale_lr_multiplier: float = 1.0
    head_lr_multiplier: float = 1.0
    decay_bias: bool = True
    decay_norm: bool = True
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        for name in (
            *("lr", "weight_decay", "warmup_epochs", "bias_lr_multiplier"),
            *("norm_scale_lr_multiplier", "head_lr_multiplier"),
        ):
            self._check(name, getattr(self, name) >= 0, "must be at least 0")
        ema, batch = self.ema_decay, self.reference_batch
        self._check("ema_decay", ema is None or 0 < ema < 1, "must lie between 0 and 1")
        self._check("reference_batch", batch is None or batch >= 1, "must be at least 1")
        self._check("gamma", 0 < self.gamma <= 1, "must lie in (0, 1]")
        self._check("momentum", 0 <= self.momentum < 1, "must lie in [0, 1)")
        object.__setattr__(self, "betas", tuple(self.betas))  # a checkpoint holds a list
        self._check("betas", all(0 <= b < 1 for b in self.betas), "must lie in [0, 1)")
        milestones = list(self.milestones)
        in_order = milestones == sorted(set(milestones)) and min(milestones, default=1) >= 1
        self._check("milestones", in_order, "must be epochs from 1 on, in order")
        if milestones and milestones[0] < self.warmup_epochs:
            raise UserError(
                f"model.optimization.milestones={milestones} begin before the warm-up ends, with "
                f"model.optimization.warmup_epochs={self.warmup_epochs}; change one of them"
            )
        if (self.schedule == "step") != bool(milestones):
            raise UserError(
                f"the schedule {self.schedule!r} and milestones {milestones} do not fit: `step` "
                "needs milestones, other schedules ignore them; change model.optimization.schedule "
                "or model.optimization.milestones"
            )

    def _check(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            value = getattr(self, name)
            given = list(value) if isinstance(value, Sequence) else value
            raise UserError(f"model.optimization.{name}={given} {allowed}")


@dataclass(frozen=True)
class BatchNorm:
    """Settings of batch normalization in training.

    Attributes:
        frozen: Layers whose statistics and affine parameters stay as they are: `none`, `all`, or
            `all_but_first` (TSN's partial BN).
        momentum: Weight of a new batch in the running statistics; torch's 0.1 where null.
        batch_size: Videos whose activations are normalised together in training; null for the
            device's whole batch, which must else be a multiple of it.

    Raises:
        UserError: If a number is out of its range.
    """

    frozen: FrozenNorms = "none"
    momentum: float | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.momentum is not None and not 0 < self.momentum < 1:
            raise UserError(f"model.batch_norm.momentum={self.momentum} must lie between 0 and 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise UserError(f"model.batch_norm.batch_size={self.batch_size} must be at least 1")


def make_optimizer(
    settings: Optimization, network: nn.Module, classifiers: Sequence[str], scale: float
) -> Optimizer:
    """Make an optimizer over the parameter groups that the papers treat differently.

    One of a user's own gets its rate and its decay by its own arguments; the factors of the groups
    are applied to them.

    Args:
        settings: Settings of the optimization.
        network: Network, of which only the trainable parameters count.
        classifiers: Names of its classifier layers.
        scale: Factor on the rate, for the batch really used.
    """
    is_own = not isinstance(settings.optimizer, str)
    groups = parameter_groups(
        network,
        scale * (1.0 if is_own else settings.lr),
        1.0 if is_own else settings.weight_decay,
        classifiers=classifiers,
        bias_lr_multiplier=settings.bias_lr_multiplier,
        norm_scale_lr_multiplier=settings.norm_scale_lr_multiplier,
        head_lr_multiplier=settings.head_lr_multiplier,
        decay_bias=settings.decay_bias,
        decay_norm=settings.decay_norm,
    )
    if settings.optimizer == "sgd":
        return SGD(groups, momentum=settings.momentum, nesterov=settings.nesterov)
    if settings.optimizer == "adamw":
        return AdamW(groups, betas=settings.betas)
    named = [{"name": group["name"], "params": group["params"]} for group in groups]
    optimizer: Optimizer = _callable(settings.optimizer)(named)
    for made, group in zip(optimizer.param_groups, groups, strict=True):
        made["lr"] *= group["lr"]
        if "weight_decay" in made:
            made["weight_decay"] *= group["weight_decay"]
    return optimizer


def make_scheduler(
    settings: Optimization, optimizer: Optimizer, total_steps: float, steps_per_epoch: int
) -> LRScheduler | ReduceLROnPlateau:
    """Make the schedule of an optimizer.

    Args:
        settings: Settings of the optimization.
        optimizer: The optimizer.
        total_steps: Optimizer steps of the whole training; infinite where nothing ends it.
        steps_per_epoch: Optimizer steps of one epoch.
    """
    if not isinstance(settings.schedule, str):
        made: LRScheduler | ReduceLROnPlateau = _callable(settings.schedule)(optimizer)
        return made
    factor = lr_factor(
        settings.schedule,
        total_steps,
        steps_per_epoch,
        milestones=settings.milestones,
        gamma=settings.gamma,
        warmup_epochs=settings.warmup_epochs,
    )
    return LambdaLR(optimizer, factor)


def _callable(value: Any) -> Callable[..., Any]:
    """Get the constructor of an optimizer or schedule, given or described in a checkpoint."""
    if isinstance(value, Mapping):
        made = attribute(value["class_path"])
        return functools.partial(made, **value.get("init_args", {}))
    assert callable(value)
    return value  # type: ignore[no-any-return]


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
        decay_bias: Decay biases.
        decay_norm: Decay the affine parameters of normalization layers.

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
    """Make the function from optimizer steps to factors on the base learning rate.

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
