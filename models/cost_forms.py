"""Forms of the CoST operation: they compute the same, and which is fast depends on the sizes.

*Separate*: three 3D convolutions, as equation 1 of the paper is written. *Folded*: three 2D
convolutions, for each of which the axis that the view does not see lies among the clips. *Merged*,
for CoST(a) alone, whose coefficients do not depend on the clip: one 3D convolution with the summed
kernel (section 3.4).

Axes: B clips, C channels, T frames, H rows, W columns.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Form = Literal["separate", "folded", "merged"]
FormOption = Literal["table_1", "separate", "folded", "merged"]
"""A form for all sizes, or the table that chooses one by the sizes, by its name."""

_MISSING_AXIS = (2, 3, 4)  # of a (C', C, T, H, W) kernel: the H-W view has size 1 along T, ...
_PADDING = ((0, 1, 1), (1, 0, 1), (1, 1, 0))
_SMALL_CLIP = 20480  # C x T x H up to which torch gives one clip to its slow 3D convolution


def table_1(x: Tensor, out_channels: int, stride: int) -> Form:
    """Choose a form by device and sizes, never by a timing.

    A table is never changed: another one gets another name, which checkpoints keep, so that a run
    that is resumed goes on with the same sums in the same order. From benchmarks/cost_operation.py
    on a CPU, 2026-11-23; on other devices nothing was measured yet, so they merge, and so does what
    is exported or compiled, which is one graph for all sizes.

    Args:
        x: Input of the operation, (B, C, T, H, W).
        out_channels: C'.
        stride: In H and W.

    Returns:
        The form; an operation that cannot be merged is then separate.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return "merged"
    batch, channels, frames, height, width = x.shape
    positions = batch * frames * -(-height // stride) * -(-width // stride)
    is_slow = batch == 1 and channels * frames * height <= _SMALL_CLIP
    few = channels * out_channels // (100 if stride == 1 else 500)
    if positions > few and not is_slow:
        return "merged"
    return "folded" if stride == 1 else "separate"


def view_kernels(banks: Sequence[Tensor]) -> list[Tensor]:
    """Give each view's bank the axis that the view does not see.

    Args:
        banks: Of the views H-W, T-W and T-H, each (C', C, 3, 3).

    Returns:
        Kernels (C', C, 1, 3, 3), (C', C, 3, 1, 3) and (C', C, 3, 3, 1).
    """
    return [bank.unsqueeze(axis) for bank, axis in zip(banks, _MISSING_AXIS, strict=True)]


def separate_views(x: Tensor, banks: Sequence[Tensor], stride: int) -> list[Tensor]:
    """Convolve with each view's kernel in 3D.

    Args:
        x: Input, (B, C, T, H, W).
        banks: Of the views H-W, T-W and T-H, each (C', C, 3, 3).
        stride: In H and W, of every view.

    Returns:
        The views, three times (B, C', T, H/stride, W/stride).
    """
    if not x.is_contiguous(memory_format=torch.channels_last_3d):
        x = x.contiguous()  # once, where each of the convolutions would do it
    steps = (1, stride, stride)
    kernels = zip(view_kernels(banks), _PADDING, strict=True)
    return [F.conv3d(x, kernel, stride=steps, padding=padding) for kernel, padding in kernels]


def folded_views(x: Tensor, banks: Sequence[Tensor], stride: int) -> list[Tensor]:
    """Convolve with each view's kernel in 2D; arguments and views as `separate_views`."""
    batch, _, frames, height, width = x.shape
    hw = F.conv2d(x.transpose(1, 2).flatten(0, 1), banks[0], stride=stride, padding=1)
    rows = x[:, :, :, ::stride].permute(0, 3, 1, 2, 4).flatten(0, 1)  # (B H', C, T, W)
    tw = F.conv2d(rows, banks[1], stride=(1, stride), padding=1)
    columns = x[..., ::stride].permute(0, 4, 1, 2, 3).flatten(0, 1)  # (B W', C, T, H)
    th = F.conv2d(columns, banks[2], stride=(1, stride), padding=1)
    hw = hw.reshape(batch, frames, *hw.shape[1:])
    tw = tw.reshape(batch, -(-height // stride), *tw.shape[1:])
    th = th.reshape(batch, -(-width // stride), *th.shape[1:])
    return [hw.transpose(1, 2), tw.permute(0, 2, 3, 1, 4), th.permute(0, 2, 3, 4, 1)]
