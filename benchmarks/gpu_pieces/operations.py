"""Forms of the project's own operations, by shape and batch: what a default would be chosen by."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from cost_operation import in_form
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


def _cost(shape: tuple[int, int, int, int], batch: int, setting: Setting) -> dict[str, Any]:
    channels, frames, side, stride = shape
    merged = CoSTOperationA(channels, channels, stride, form="merged").to(setting.device)
    x = torch.randn(batch, channels, frames, side, side, device=setting.device)
    forms: dict[str, Callable[[Tensor], Tensor]] = {"merged": merged}
    forms["separate"], forms["folded"] = (in_form(merged, form) for form in ("separate", "folded"))
    forms["merged, compiled"] = torch.compile(merged, dynamic=False)
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
