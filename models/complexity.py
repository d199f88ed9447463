"""Complexity of a network: parameters, and multiply-adds of one clip."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.layers import VideoNetwork


def count_parameters(network: nn.Module) -> int:
    """Count trainable and frozen parameters; running statistics are buffers and do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: VideoNetwork | Callable[[], VideoNetwork], frames: int, size: int) -> int:
    """Count the multiply-adds of one clip: convolutions, linear layers and matrix products.

    A network itself states the cost of any other operation (`VideoNetwork.uncounted_macs`).

    A multiply-add counts once, a kernel with all its taps: CoST(a), here one 3x3x3 convolution,
    counts 27 taps like the three convolutions it stands for, though 19 are not zero.
    Nothing is computed: shapes alone go through a copy on torch's meta device, so the network may
    live on any device and is neither moved nor run.

    Args:
        network: A network, or a function that builds one (it is called on the meta device).
        frames: T of the clip.
        size: Height and width of the clip, in pixels.

    Returns:
        Multiply-adds; divide by 1e9 for GMACs.
    """
    if isinstance(network, VideoNetwork):
        shadow = copy_to_meta(network)
    else:
        with torch.device("meta"):
            shadow = network()
    inputs = shadow.eval().example_inputs(1, frames, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(*inputs)
    counted = int(counter.get_total_flops()) // 2  # torch counts a multiply-add as two operations
    return counted + shadow.uncounted_macs(frames, size)


def copy_to_meta(network: VideoNetwork) -> VideoNetwork:
    """Copy the modules, but stand in a tensor without data for every parameter and buffer."""
    stand_ins: dict[int, Any] = {}
    for parameter in network.parameters():
        stand_ins[id(parameter)] = nn.Parameter(_without_data(parameter))
    for buffer in network.buffers():
        stand_ins[id(buffer)] = _without_data(buffer)
    return copy.deepcopy(network, stand_ins)


def _without_data(tensor: Tensor) -> Tensor:
    """Make a tensor of the same shape and dtype on the meta device."""
    return torch.empty_like(tensor, device="meta", requires_grad=False)
