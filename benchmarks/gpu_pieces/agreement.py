"""Scores and gradients on the device against float64 on the CPU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpu_pieces.setting import (
    Cell,
    Setting,
    Subject,
    compiled,
    exact_float32,
    families,
    relative,
    subjects,
)
from lightning_modules.training.gpu_libraries import compare_convolutions
from models.convolutions import list_convolutions

FORMS = ("float32", "bfloat16", "float16")
COMPILED = ("compiled float32", "compiled bfloat16")
SIDE, CLIPS = 112, 2
"""Smaller clips than the papers' are as telling here, and float64 on a CPU is slow."""


def cells(setting: Setting) -> list[Cell]:
    """Each network, then compiled, which takes longer to make than to run."""
    found = [Cell(s.name, partial(_agree, s, FORMS, setting), 30) for s in subjects(setting)]
    return found + [
        Cell(f"{s.name}, compiled", partial(_agree, s, COMPILED, setting), 100)
        for s in families(setting)
    ]


def _agree(subject: Subject, forms: tuple[str, ...], setting: Setting) -> dict[str, Any]:
    """Relative errors of scores and of all gradients, and of convolutions in bfloat16."""
    size = subject.size if setting.tiny else SIDE
    inputs = subject.make().example_inputs(CLIPS, subject.frames, size)
    truth = _scores_and_gradient(subject.make().double(), [x.double() for x in inputs], "float64")
    row: dict[str, Any] = {}
    for form in forms:
        network = subject.make().to(setting.device)
        there = [x.to(setting.device) for x in inputs]
        try:
            with exact_float32():
                found = _scores_and_gradient(network, there, form)
        except RuntimeError as error:  # of the compiler: the other forms are worth their values
            row[f"{form}: scores, gradient"] = str(error).strip().splitlines()[0][:60]
        else:
            errors = [relative(part, exact) for part, exact in zip(found, truth, strict=True)]
            row[f"{form}: scores, gradient"] = f"{errors[0]:.2g}, {errors[1]:.2g}"
        setting.clean()
    if forms != FORMS:
        return row
    convolutions = list_convolutions(subject.make(), subject.frames, subject.size)
    compared = compare_convolutions(convolutions, setting.device, 5.0)
    row["bfloat16 convolutions wrong"] = f"{len(compared.wrong)} of {compared.compared}"
    row["their time by float32's"] = round(compared.slowdown, 2)
    return row


def _scores_and_gradient(
    network: nn.Module, inputs: list[Tensor], form: str
) -> tuple[Tensor, Tensor]:
    """Logits (B, K) and the gradient of the loss, all of it in one vector, in evaluation mode."""
    network.eval()
    call: Callable[..., Tensor] = compiled(network) if "compiled" in form else network
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(form.split()[-1])
    device = inputs[0].device.type
    with torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None):
        scores = call(*inputs)
    labels = torch.arange(len(scores), device=scores.device)
    # half of a float16's small numbers are zero without a factor, which every training has
    factor = 1024.0 if dtype == torch.float16 else 1.0
    torch.autograd.backward(factor * cross_entropy(scores.to(inputs[0].dtype), labels))
    parts = [p.grad.flatten() / factor for p in network.parameters() if p.grad is not None]
    return scores.detach(), torch.cat(parts)
