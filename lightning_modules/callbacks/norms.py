"""Norms: how large gradients and weights are."""

from collections.abc import Iterable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.optim import Optimizer


class Norms(Callback):
    """A callback that logs `train/gradient_norm`, before clipping, and `train/weight_norm`.

    Both are Euclidean, over all parameters that are trained, at the steps that loggers log
    (`trainer.log_every_n_steps`); nothing waits for the device.
    """

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Log the norms of a step."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (trainer.global_step + 1) % every:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        is_sharded = isinstance(trainer.strategy.model, FullyShardedDataParallel)
        for name, values in (("gradient", gradients), ("weight", parameters)):
            square = norm(values).square()
            if is_sharded:  # each rank holds a part of every parameter
                square = trainer.strategy.reduce(square, reduce_op="sum")
            pl_module.log(f"train/{name}_norm", square.sqrt())


def norm(values: Iterable[Tensor]) -> Tensor:
    """Compute the Euclidean norm over all numbers of some tensors, a scalar."""
    with torch.no_grad():
        return torch.nn.utils.get_total_norm(values)
