"""A network for use alone: kernels that are sums are one, normalizations are in the convolutions.

Only the arithmetic changes, not what is computed; the result is held against the network itself.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from models import VideoNetwork
from models.cost import CoSTOperationA
from models.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, FrameBatchNorm2d
from models.stnet_irv2 import ActivatedBatchNorm2d

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
_NORMALIZATIONS = (
    *(BatchNorm1d, BatchNorm2d, BatchNorm3d, FrameBatchNorm2d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    ActivatedBatchNorm2d,
)
"""Layers that normalize, of which it is known what else they do; subclasses may do more."""


def folded(network: VideoNetwork, inputs: tuple[Tensor, ...]) -> tuple[VideoNetwork, int]:
    """Copy a network in evaluation mode, merged and folded.

    The operation of CoST(a) becomes the one convolution that it is equal to, and a normalization
    goes into the convolution right before it.

    Args:
        network: The network; stays as it is.
        inputs: Clips that it takes.

    Returns:
        The copy, and the number of normalizations that are gone.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for name, layer in list(copied.named_modules()):
        if isinstance(layer, CoSTOperationA):
            copied.set_submodule(name, _merged(layer))
    pairs = _pairs(copied, inputs)
    for convolution, normalization in pairs.items():
        layer = copied.get_submodule(normalization)
        _fold(copied.get_submodule(convolution), layer)
        copied.set_submodule(normalization, _rest(layer))
    for parameter in copied.parameters():  # laid out for nobody's memory in particular
        parameter.data = parameter.data.contiguous()
    return copied, len(pairs)


def _merged(operation: CoSTOperationA) -> nn.Conv3d:
    """Make the convolution with the one kernel of all views."""
    kernel = operation.merged_kernel()
    out_channels, in_channels = kernel.shape[:2]
    merged = nn.Conv3d(in_channels, out_channels, 3, stride=operation.stride, padding=1, bias=False)
    merged.weight = nn.Parameter(kernel, requires_grad=False)
    return merged


def _pairs(network: VideoNetwork, inputs: tuple[Tensor, ...]) -> dict[str, str]:
    """Find the normalizations that are given just what a convolution has computed.

    The network runs once. A pair is a convolution and the normalization that is called next, on the
    same memory; each of them once in the run, and without any other layer of theirs between.

    Returns:
        Name of the convolution to that of the normalization.
    """
    with _watched(network) as events, torch.inference_mode():
        network(*inputs)
    calls = Counter(name for name, _ in events)
    return {
        name: following
        for (name, made), (following, given) in pairwise(events)
        if made is not None and made == given and calls[name] == calls[following] == 1
    }


@contextmanager
def _watched(network: nn.Module) -> Iterator[list[tuple[str, tuple[int, int] | None]]]:
    """Note the calls of convolutions, with what they made, and of others, with what they got.

    Memory is named by its address and its number of values. All of it is kept until the end, so
    that no address is given twice.
    """
    events: list[tuple[str, tuple[int, int] | None]] = []
    kept: list[Tensor] = []
    handles = []

    def place(x: Tensor) -> tuple[int, int]:
        kept.append(x)
        return x.untyped_storage().data_ptr(), x.numel()

    for name, layer in network.named_modules():
        if isinstance(layer, _CONVOLUTIONS):

            def after(_: nn.Module, __: object, made: Tensor, name: str = name) -> None:
                events.append((name, place(made)))

            handles.append(layer.register_forward_hook(after))
        elif type(layer) in _NORMALIZATIONS:

            def before(_: nn.Module, given: tuple[Tensor], name: str = name) -> None:
                events.append((name, place(given[0])))

            handles.append(layer.register_forward_pre_hook(before))
        elif not list(layer.children()):

            def called(_: nn.Module, __: object, name: str = name) -> None:
                events.append((name, None))

            handles.append(layer.register_forward_pre_hook(called))
    try:
        yield events
    finally:
        for handle in handles:
            handle.remove()


def _rest(normalization: nn.Module) -> nn.Module:
    """Return what a layer does beside normalizing."""
    if isinstance(normalization, ActivatedBatchNorm2d):
        return nn.Sequential(normalization.drop, normalization.act)
    return nn.Identity()


def _fold(convolution: nn.Module, normalization: nn.Module) -> None:
    """Multiply a normalization into the kernel and bias of a convolution, in place."""
    assert isinstance(convolution, _CONVOLUTIONS)
    assert isinstance(normalization, _BatchNorm)
    assert normalization.running_mean is not None
    assert normalization.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        normalization.running_mean,
        normalization.running_var,
        normalization.eps,
        normalization.weight,
        normalization.bias,
        transpose=isinstance(convolution, nn.ConvTranspose2d),
    )
