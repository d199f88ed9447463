"""BlockShardedStrategy: FSDP whose units are residual blocks, for networks larger than a GPU."""

from typing import Any

import torch
from lightning.pytorch.plugins.precision import FSDPPrecision, Precision
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.optim import Optimizer

from models.resnet import ResidualBlock

__all__ = ["BlockShardedStrategy"]


class BlockShardedStrategy(FSDPStrategy):
    """Parameters, gradients and optimizer state divided over the ranks, block by block.

    Each residual block is a unit of its own: only the one that computes is whole. What lies
    outside of them, the stem and the head, is the last unit. Buffers stay in float32, so that
    running statistics are exact in mixed precision. Gradients are clipped by the norm over all
    shards.

    Args:
        kwargs: Arguments of `FSDPStrategy`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = self.kwargs.pop("auto_wrap_policy", None) or ModuleWrapPolicy({ResidualBlock})

    @property
    def precision_plugin(self) -> FSDPPrecision:
        """The precision, which knows the shards."""
        return super().precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, precision_plugin: Precision | None) -> None:
        if isinstance(precision_plugin, FSDPPrecision):
            flag: Any = precision_plugin.precision
            self._precision_plugin = _ShardedPrecision(flag)

    def _setup_model(self, model: nn.Module) -> nn.Module:
        """Divide a module; Lightning's own would leave out the device of a rank on the CPU."""
        precision = self.precision_plugin
        sharded = FullyShardedDataParallel(
            model,
            auto_wrap_policy=self.units,
            cpu_offload=self.cpu_offload,
            mixed_precision=precision.mixed_precision_config,
            sharding_strategy=self.sharding_strategy,
            device_id=self.root_device,
            **self.kwargs,
        )
        assert isinstance(precision, _ShardedPrecision)
        precision.sharded = sharded
        return super()._setup_model(sharded)


class _ShardedPrecision(FSDPPrecision):
    """FSDP's precision with buffers in float32, and clipping by the norm over all shards."""

    sharded: FullyShardedDataParallel

    @property
    def mixed_precision_config(self) -> MixedPrecision:
        """The dtypes of parameters, of gradients on their way, and of buffers."""
        config = super().mixed_precision_config
        config.buffer_dtype = torch.float32
        return config

    def clip_grad_by_norm(self, optimizer: Optimizer, clip_val: float) -> None:
        """Clip the gradients in place, of all parameters together."""
        self.sharded.clip_grad_norm_(clip_val)
