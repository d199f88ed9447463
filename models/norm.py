"""Batch normalization under control: frozen layers, statistics over part of a batch, momentum.

Papers differ in what batch normalization may do while a video network trains. TSN freezes every
layer but the first (Wang et al., ECCV 2016, arXiv 1608.00859, section 3.2, "partial BN"); CoST
freezes all of them for its 32-frame fine-tune (Li et al., CVPR 2019, section 4.4); ST-ResNet
normalises a few videos at a time, however large the batch (Feichtenhofer et al., NIPS 2016, table
2, "sub-batch normalisation").

Layers are changed where they are: names, parameters and buffers stay, so weights load as before.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.layers import VideoNetwork


class ControlledBatchNorm(_BatchNorm):
    """What `control_batch_norm` puts in front of a layer's own class.

    Attributes:
        frozen: Whether running statistics and affine parameters stay as they are. The layer is then
            always in evaluation mode, whatever `train()` is called on.
        num_groups: Equal parts of a training batch, along its first axis, that are each normalised
            with their own statistics.
    """

    frozen: bool = False
    num_groups: int = 1

    def train(self, mode: bool = True) -> "ControlledBatchNorm":
        """Set the mode; a frozen layer stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x, whose first axis is videos, or their frames one video after another.

        Running statistics follow the groups one after another.
        """
        normalize = super().forward
        if not self.training or self.num_groups == 1:
            return normalize(x)
        assert x.shape[0] % self.num_groups == 0
        return torch.cat([normalize(group) for group in x.chunk(self.num_groups)])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the layer's own class, as the controlled one has no name to be found by."""
        return _new_controlled, (type(self).__bases__[1],), self.__dict__


_CONTROLLED: dict[type[_BatchNorm], type[ControlledBatchNorm]] = {}
"""The controlled form of each class of layers, made once."""


def batch_norms(network: nn.Module) -> Iterator[_BatchNorm]:
    """Each batch normalization, in the order of the modules."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            yield module


def _controlled_kind(kind: type[_BatchNorm]) -> type[ControlledBatchNorm]:
    """The controlled form of a class of layers."""
    if kind not in _CONTROLLED:
        _CONTROLLED[kind] = type(f"Controlled{kind.__name__}", (ControlledBatchNorm, kind), {})
    return _CONTROLLED[kind]


def _new_controlled(kind: type[_BatchNorm]) -> ControlledBatchNorm:
    """A controlled layer without its state, for pickle and copy."""
    controlled = _controlled_kind(kind)
    return controlled.__new__(controlled)


def control_batch_norm(layer: _BatchNorm) -> ControlledBatchNorm:
    """Make one layer controllable, in place; a layer that is already is returned as it is."""
    if not isinstance(layer, ControlledBatchNorm):
        layer.__class__ = _controlled_kind(type(layer))
    assert isinstance(layer, ControlledBatchNorm)
    return layer


def freeze_batch_norm(network: VideoNetwork, *, keep_first: bool = False) -> None:
    """Fix running statistics and affine parameters, in place.

    Args:
        network: The network.
        keep_first: Whether the first layer, of each stream where there are several, is left as it
            is: its input is what differs most from the pretraining's.
    """
    streams = list(network.children()) if len(network.modalities) > 1 else [network]
    first = [next(batch_norms(stream)) for stream in streams] if keep_first else []
    for layer in batch_norms(network):
        if any(layer is kept for kept in first):
            continue
        control_batch_norm(layer).frozen = True
        layer.eval()
        layer.requires_grad_(False)


def split_batch_norm(network: nn.Module, num_groups: int) -> None:
    """Normalise equal parts of each training batch apart, in place.

    Args:
        network: The network.
        num_groups: Number of parts; it must divide the number of videos of a batch.
    """
    for layer in batch_norms(network):
        control_batch_norm(layer).num_groups = num_groups


def set_batch_norm_momentum(network: nn.Module, momentum: float) -> None:
    """Set the weight of a new batch in the running statistics, in place.

    Args:
        network: The network.
        momentum: Weight of the new value, as torch counts it.
    """
    for layer in batch_norms(network):
        layer.momentum = momentum
