"""Batch normalization under control: frozen layers, statistics over part of a batch, momentum.

Papers differ in what batch normalization may do while a video network trains. TSN freezes every
layer but the first (Wang et al., ECCV 2016, arXiv 1608.00859, section 3.2, "partial BN"); CoST
freezes all of them for its 32-frame fine-tune (Li et al., CVPR 2019, section 4.4); ST-ResNet
normalises a few videos at a time, however large the batch (Feichtenhofer et al., NIPS 2016, table
2, "sub-batch normalisation").

Our networks are built of the layers below, which differ from torch's in two attributes. Layers
from elsewhere are replaced once, by `replace_batch_norms`. Names, parameters and buffers are those
of torch's layers, so weights load as before.

Axes: B clips, C channels, T frames, H rows, W columns.
"""

from collections.abc import Iterator, Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.layers import VideoNetwork, fold_time, unfold_time


class ControlledBatchNorm(_BatchNorm):
    """Base class of our batch normalizations, in front of torch's: the options added to them.

    Attributes:
        frozen: If True, running statistics and affine parameters stay as they are. The layer is
            then always in evaluation mode, whatever `train()` is called on.
        num_groups: Equal parts of a training batch, along its first axis, that are each normalised
            with their own statistics.
    """

    frozen: bool = False
    num_groups: int = 1

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen layer stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize one group, as torch's layer does a batch."""
        return super().forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x, whose first axis is videos, or their frames one video after another.

        Running statistics follow the groups one after another.
        """
        if not self.training or self.num_groups == 1:
            return self.normalize(x)
        assert x.shape[0] % self.num_groups == 0
        return torch.cat([self.normalize(group) for group in x.chunk(self.num_groups)])


class BatchNorm1d(ControlledBatchNorm, nn.BatchNorm1d):
    """Batch normalization of (N, C) or (N, C, L); arguments of `torch.nn.BatchNorm1d`."""


class BatchNorm2d(ControlledBatchNorm, nn.BatchNorm2d):
    """Batch normalization of (N, C, H, W); arguments of `torch.nn.BatchNorm2d`."""


class BatchNorm3d(ControlledBatchNorm, nn.BatchNorm3d):
    """Batch normalization of (B, C, T, H, W); arguments of `torch.nn.BatchNorm3d`."""


class FrameBatchNorm2d(BatchNorm2d):
    """Batch normalization with statistics over B, T, H and W, on (B, C, T, H, W).

    Arguments, parameters and buffers are those of `torch.nn.BatchNorm2d`.
    """

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize one group, (B, C, T, H, W)."""
        return unfold_time(super().normalize(fold_time(x)), x.shape[2])


Replacements = Mapping[type[_BatchNorm], type[ControlledBatchNorm]]
"""Map from a kind of layer to its replacement; subclasses are kinds of their own."""

TORCH_LAYERS: Replacements = {
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
}


def replace_batch_norms(module: nn.Module, replacements: Replacements = TORCH_LAYERS) -> nn.Module:
    """Replace the batch normalizations of a network built elsewhere by our layers.

    To be called once, on a new network: `get_model` does so for torch's layers, a family that takes
    a trunk from another library for the kinds of that library. Parameters, buffers and submodules
    are handed over, so keys and values of the state dict stay as they are; hooks do not. Kinds that
    are not named are left as they are, and refused by what controls them.

    Args:
        module: The network, changed in place; or one layer.
        replacements: Replacement of each kind.

    Returns:
        The network, or the replacement of the layer.
    """
    if isinstance(module, _BatchNorm):
        kind = replacements.get(type(module))
        return module if kind is None else _take_over(module, kind)
    for name, child in module.named_children():
        module.add_module(name, replace_batch_norms(child, replacements))
    return module


def _take_over(layer: _BatchNorm, kind: type[ControlledBatchNorm]) -> ControlledBatchNorm:
    """Make a layer of our kind that owns the parameters, buffers and children of a foreign one."""
    ours = kind(
        layer.num_features,
        layer.eps,
        layer.momentum,
        layer.affine,
        layer.track_running_stats,
        device="meta",
    )
    for name, parameter in layer.named_parameters(recurse=False):
        ours.register_parameter(name, parameter)
    for name, buffer in layer.named_buffers(recurse=False):
        ours.register_buffer(name, buffer)
    for name, child in layer.named_children():
        ours.add_module(name, child)
    return ours.train(layer.training)


def batch_norms(network: nn.Module) -> Iterator[_BatchNorm]:
    """Yield each batch normalization, in the order of the modules."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            yield module


def _controlled(layer: _BatchNorm) -> ControlledBatchNorm:
    """Return the same layer, if it is one of ours."""
    if not isinstance(layer, ControlledBatchNorm):
        raise ValueError(
            f"the network holds a {type(layer).__name__}, which can be neither frozen nor divided; "
            "call models.norm.replace_batch_norms on the new network, naming a replacement for it"
        )
    return layer


def freeze_batch_norm(network: VideoNetwork, *, keep_first: bool = False) -> None:
    """Fix running statistics and affine parameters, in place.

    Args:
        network: The network.
        keep_first: If True, the first layer, of each stream where there are several, is left as it
            is: its input differs most from the pretraining's.

    Raises:
        ValueError: A layer is not one of ours.
    """
    streams = list(network.children()) if len(network.modalities) > 1 else [network]
    first = [next(batch_norms(stream)) for stream in streams] if keep_first else []
    for layer in batch_norms(network):
        if any(layer is kept for kept in first):
            continue
        _controlled(layer).frozen = True
        layer.eval()
        layer.requires_grad_(False)


def split_batch_norm(network: nn.Module, num_groups: int) -> None:
    """Normalise equal parts of each training batch apart, in place.

    Args:
        network: The network.
        num_groups: Number of parts; it must divide the number of videos of a batch.

    Raises:
        ValueError: A layer is not one of ours.
    """
    for layer in batch_norms(network):
        _controlled(layer).num_groups = num_groups


def set_batch_norm_momentum(network: nn.Module, momentum: float) -> None:
    """Set the weight of a new batch in the running statistics, in place.

    Args:
        network: The network.
        momentum: Weight of the new value, as torch counts it.
    """
    for layer in batch_norms(network):
        layer.momentum = momentum
