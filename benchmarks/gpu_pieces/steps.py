"""Training steps at the papers' sizes: clips per second, memory, share of the matrix rate."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.video import r2plus1d_18, r3d_18

from gpu_pieces.setting import Cell, Setting, Subject, compiled, families, subjects
from lightning_modules.training.initialization import store_channels_last
from models import count_macs
from models.checkpointing import checkpoint_blocks
from models.cost import CoSTOperationA

SPECIAL = ("CUDA graphs", "fused optimizer", "activations computed again", "channels first")
OLD = {"r3d_18": r3d_18, "r2plus1d_18": r2plus1d_18}


def cells(setting: Setting) -> list[Cell]:
    """Each network as a fit has it, torchvision's, compiled; then what may be faster or slower."""
    every, four = subjects(setting), families(setting)
    found = [Cell(f"{s.name}, plain", partial(_network, s, "plain", setting), 20) for s in every]
    found += [Cell(name, partial(_old, name, setting), 20) for name in OLD]
    forms = [("three convolutions", four[:1]), ("compiled", every if setting.is_gpu else four)]
    forms += [(form, four) for form in SPECIAL if setting.is_gpu or form != "CUDA graphs"]
    slow = ("compiled", "CUDA graphs")
    return found + [
        Cell(f"{s.name}, {form}", partial(_network, s, form, setting), 60 if form in slow else 20)
        for form, chosen in forms
        for s in chosen
    ]


def _network(subject: Subject, form: str, setting: Setting) -> dict[str, Any]:
    network = subject.make()
    if form == "activations computed again":
        checkpoint_blocks(network)
    if form == "three convolutions":
        for module in network.modules():
            if isinstance(module, CoSTOperationA):
                module.form = "separate"
    macs = count_macs(subject.make, subject.frames, subject.size)
    make = partial(network.example_inputs, frames=subject.frames, size=subject.size)
    return _measure(network, make, macs, subject.batch, form, setting)


def _old(name: str, setting: Setting) -> dict[str, Any]:
    frames, size, batch = (8, 32, 4) if setting.tiny else (16, 112, 64)
    network: nn.Module = OLD[name](num_classes=400)

    def make(clips: int) -> tuple[Tensor, ...]:
        return (torch.zeros(clips, 3, frames, size, size),)

    return _measure(network, make, None, batch, "plain", setting)


def _measure(
    network: nn.Module,
    make: Callable[[int], tuple[Tensor, ...]],
    macs: int | None,
    batch: int,
    form: str,
    setting: Setting,
) -> dict[str, Any]:
    """Time steps with the largest batch, of half the size each time, that there is memory for."""
    network.to(setting.device).train()
    if form != "channels first":
        store_channels_last(network)
    fused = form == "fused optimizer" or None
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9, fused=fused)
    modes = {"compiled": "default", "CUDA graphs": "reduce-overhead"}
    call = compiled(network, modes[form]) if form in modes else network
    while True:
        try:
            seconds = setting.seconds(_step(call, make(batch), optimizer, form, setting))
            break
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            setting.clean()
    rate = batch / seconds
    row: dict[str, Any] = {"batch": batch, "clips/s": round(rate, 1), "peak GB": setting.peak_gb()}
    if macs is not None:  # forward and twice that backward, two operations each
        share = 6 * macs * rate / matrix_rate(setting)
        row |= {"GMACs": round(macs / 1e9, 2), "share of the matrix rate": f"{share:.1%}"}
    return row


def _step(
    call: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    optimizer: torch.optim.Optimizer,
    form: str,
    setting: Setting,
) -> Callable[[], None]:
    """Make a training step on one batch, in bfloat16 by automatic casts."""
    there = [x.to(setting.device) for x in inputs]
    if form != "channels first":
        there = [
            x.contiguous(memory_format=torch.channels_last_3d) if x.dim() == 5 else x for x in there
        ]
    labels = torch.zeros(len(there[0]), dtype=torch.int64, device=setting.device)

    def step() -> None:
        with torch.autocast(setting.device.type, torch.bfloat16):
            loss = F.cross_entropy(call(*there).float(), labels)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()

    return step


@cache
def matrix_rate(setting: Setting) -> float:
    """Operations per second of a large product of bfloat16 matrices."""
    side = 512 if setting.tiny else 8192
    a, b = (torch.randn(side, side, device=setting.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / setting.seconds(lambda: a @ b, 20)
