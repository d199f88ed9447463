"""The convolutions of a network: their shapes, found without computing anything."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.complexity import copy_to_meta
from models.layers import VideoNetwork


@dataclass(frozen=True)
class Convolution:
    """One convolution, by what it is given.

    Attributes:
        input: Shape of its input: (B, C, T), (B, C, H, W) or (B, C, T, H, W).
        weight: Shape of its kernels: (C', C / groups, ...).
        stride: Steps along the input's last axes.
        padding: Zeros before and behind each of them.
        dilation: Distance of a kernel's taps along each of them.
        groups: Groups of channels.
    """

    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def dimensions(self) -> int:
        """Number of axes it runs along: 1, 2 or 3."""
        return len(self.stride)

    def example(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Draw an input and kernels in bfloat16, as training lays them: channels last in memory."""
        layouts = {2: torch.channels_last, 3: torch.channels_last_3d}  # one axis has one layout
        layout = layouts.get(self.dimensions, torch.contiguous_format)
        fan_in = math.prod(self.weight[1:])  # outputs have a variance of about one
        x = torch.randn(self.input, device=device)
        weight = torch.randn(self.weight, device=device) / fan_in**0.5
        x, weight = (t.to(torch.bfloat16, memory_format=layout) for t in (x, weight))
        return x, weight

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve."""
        settings = (self.stride, self.padding, self.dilation)
        no_output_padding = (0,) * self.dimensions
        return torch.convolution(x, weight, None, *settings, False, no_output_padding, self.groups)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record of the convolutions that run within it, each kind once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[Convolution, None] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding, dilation, _, _, groups = args
            settings = (tuple(stride), tuple(padding), tuple(dilation))
            self.found[Convolution(tuple(x.shape), tuple(weight.shape), *settings, groups)] = None
        return func(*args, **(kwargs or {}))


def list_convolutions(network: VideoNetwork, frames: int, size: int) -> list[Convolution]:
    """List the different convolutions of a network, in the order they run in.

    Shapes alone go through a copy on torch's meta device: the network is neither moved nor run.

    Args:
        network: The network.
        frames: T of a clip.
        size: Height and width of a clip, in pixels.
    """
    shadow = copy_to_meta(network).eval()
    with torch.no_grad(), _Recorder() as recorder:
        shadow(*shadow.example_inputs(1, frames, size))
    return list(recorder.found)
