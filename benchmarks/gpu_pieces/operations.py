"""Forms of the project's own operations, by shape and batch: what a default would be chosen by."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from cost_operation import three_convolutions
from self_similarity import OFFSETS, all_pairs
from torch import Tensor

from gpu_pieces.setting import Cell, Setting, relative
from models.cost import CoSTOperationA
from models.self_similarity import self_similarity

# (C, T, H = W, stride) of the operations of `cost_a_r50`, from the input on
COST = ((64, 8, 56, 1), (128, 4, 56, 2), (256, 4, 14, 1), (512, 4, 7, 1))
COST_TINY = ((16, 8, 16, 1), (32, 4, 16, 2))
BATCHES = (1, 32)


def cells(setting: Setting) -> list[Cell]:
    """CoST(a) by shape and batch, then self-similarity by batch."""
    shapes, batches = (COST_TINY, (1, 4)) if setting.tiny else (COST, BATCHES)
    found = [
        Cell(f"cost_a {shape} x {batch}", partial(_cost, shape, batch, setting), 20)
        for shape, batch in itertools.product(shapes, batches)
    ]
    return found + [
        Cell(f"self-similarity x {batch}", partial(_similarity, batch, setting), 20)
        for batch in batches
    ]


def folded(operation: CoSTOperationA, x: Tensor) -> Tensor:
    """Each view as a 2D convolution, the axis it does not see among the clips."""
    batch, _, frames, height, width = x.shape
    step = operation.stride[-1]
    banks = [operation.weight] * 3 if operation.shared else list(operation.weight.unbind())
    shares = operation.logits.softmax(1).t()[..., None, None, None]
    hw = F.conv2d(x.transpose(1, 2).flatten(0, 1), banks[0], stride=step, padding=1)
    hw = hw.unflatten(0, (batch, frames)).transpose(1, 2)
    rows = x[:, :, :, ::step].permute(0, 3, 1, 2, 4).flatten(0, 1)  # (B H', C, T, W)
    tw = F.conv2d(rows, banks[1], stride=(1, step), padding=1)
    tw = tw.unflatten(0, (batch, -(-height // step))).permute(0, 2, 3, 1, 4)
    columns = x[..., ::step].permute(0, 4, 1, 2, 3).flatten(0, 1)  # (B W', C, T, H)
    th = F.conv2d(columns, banks[2], stride=(1, step), padding=1)
    th = th.unflatten(0, (batch, -(-width // step))).permute(0, 2, 3, 4, 1)
    y: Tensor = shares[0] * hw + shares[1] * tw + shares[2] * th
    return y


def _cost(shape: tuple[int, int, int, int], batch: int, setting: Setting) -> dict[str, Any]:
    channels, frames, side, stride = shape
    operation = CoSTOperationA(channels, channels, stride).to(setting.device)
    x = torch.randn(batch, channels, frames, side, side, device=setting.device)
    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "merged": operation,
        "three": partial(three_convolutions, operation),
        "folded": partial(folded, operation),
    }
    forms["merged, compiled"] = torch.compile(operation, dynamic=False)
    return _milliseconds(forms, x, setting)


def _similarity(batch: int, setting: Setting) -> dict[str, Any]:
    window, shape = (5, (batch, 32, 8, 8, 8)) if setting.tiny else (9, (batch, 128, 8, 14, 14))
    x = torch.relu(torch.randn(shape, device=setting.device))
    ours = partial(self_similarity, offsets=OFFSETS, window=window)
    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "rows": ours,
        "all pairs": partial(all_pairs, window),
        "rows, compiled": torch.compile(ours, dynamic=False),
    }
    return _milliseconds(forms, x, setting)


def _milliseconds(
    forms: dict[str, Callable[[Tensor], Tensor]], x: Tensor, setting: Setting
) -> dict[str, Any]:
    """Time forward and backward of each form in bfloat16; all must give the same numbers."""
    x = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    with torch.no_grad():
        truth = next(iter(forms.values()))(x)
        errors = [relative(form(x), truth) for form in forms.values()]
    row: dict[str, Any] = {"largest relative difference": max(errors)}
    for name, form in forms.items():

        def step(form: Callable[[Tensor], Tensor] = form) -> None:
            with torch.autocast(setting.device.type, torch.bfloat16):
                y = form(x)
            torch.autograd.backward(y.float().sum())

        row[f"{name}, ms"] = round(1e3 * setting.seconds(step), 3)
    return row
