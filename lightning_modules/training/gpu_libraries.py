"""Convolutions that a GPU's libraries compute wrongly or slowly in half the bits."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from datamodules.errors import UserError, as_user_error
from datamodules.health.findings import Finding
from models import VideoNetwork
from models.convolutions import Convolution, list_convolutions

KNOWN_BAD = range(90800, 91500)
"""Versions of cuDNN (9.8 to 9.14) whose 3D convolutions in 16 bits are wrong; torch 2.9 and 2.10
avoid some of them, at 4 to 20 times the time and memory (pytorch issues 163539, 166122, 166643)."""

TOLERANCE = 0.02
"""Relative error from which a bfloat16 convolution is wrong; rounding alone gives 0.002."""

SLOW = 2.0
"""Time in bfloat16 by that in float32 from which something is wrong; half is usual."""


def refuse_known_bad_cudnn(
    network: VideoNetwork, frames: int, size: int, device: torch.device, precision: str
) -> None:
    """Refuse to run 3D convolutions in 16 bits on a cuDNN that is known to fail at them.

    Args:
        network: The network to run.
        frames: T of a clip.
        size: Height and width of a clip, in pixels.
        device: Device of the run.
        precision: The trainer's precision.

    Raises:
        UserError: If cuDNN lies in that window and the network has such convolutions.
    """
    if device.type != "cuda" or "16" not in precision:
        return
    version = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    if version is None or version not in KNOWN_BAD:
        return
    with as_user_error():
        convolutions = list_convolutions(network, frames, size)
    if any(convolution.dimensions == 3 for convolution in convolutions):
        name = f"{version // 10000}.{version // 100 % 100}.{version % 100}"
        raise UserError(
            f"cuDNN {name} computes 3D convolutions in {precision} wrongly or many times slower, "
            "as all from 9.8 to 9.14 do; install torch 2.11 or nvidia-cudnn 9.15, or newer ones, "
            "or set --trainer.precision 32-true"
        )


@dataclass(frozen=True)
class Comparison:
    """Convolutions in bfloat16, against the same numbers in float32.

    Attributes:
        compared: Number of different convolutions that there was time for.
        wrong: Those whose relative error is above `TOLERANCE`, with the error.
        slowdown: Time in bfloat16 by the time in float32, over all compared.
    """

    compared: int
    wrong: Sequence[tuple[Convolution, float]]
    slowdown: float


def compare_convolutions(
    convolutions: Sequence[Convolution], device: torch.device, seconds: float = 2.0
) -> Comparison:
    """Run convolutions on a device in bfloat16 and in float32.

    Args:
        convolutions: The convolutions.
        device: The device.
        seconds: Time after which no further one is begun.
    """
    wrong, spent, compared = [], {torch.bfloat16: 0.0, torch.float32: 0.0}, 0
    end = time.monotonic() + seconds
    with torch.inference_mode():
        for convolution in convolutions:
            if compared and time.monotonic() >= end:
                break
            example = convolution.example(device)
            results = {}
            for dtype in spent:
                x, weight = (part.to(dtype) for part in example)
                convolution(x, weight)  # the first call chooses an algorithm
                _finish(device)
                start = time.perf_counter()
                results[dtype] = convolution(x, weight).float()
                _finish(device)
                spent[dtype] += time.perf_counter() - start
            truth = results[torch.float32]
            error = float((results[torch.bfloat16] - truth).norm() / truth.norm())
            if not error <= TOLERANCE:  # a NaN is wrong too
                wrong.append((convolution, error))
            compared += 1
    return Comparison(compared, wrong, spent[torch.bfloat16] / spent[torch.float32])


def convolution_findings(
    network: VideoNetwork, frames: int, size: int, device: torch.device
) -> list[Finding]:
    """Compare a network's own convolutions in bfloat16 with float32, for about two seconds.

    Args:
        network: The network.
        frames: T of a clip.
        size: Height and width of a clip, in pixels.
        device: The device it would train on.
    """
    with as_user_error():
        convolutions = list_convolutions(network, frames, size)
    found = compare_convolutions(convolutions, device)
    share = f"{found.compared} of the network's {len(convolutions)} kinds of convolutions"
    if found.wrong:
        text = (
            f"In bfloat16 {len(found.wrong)} of {share} compute something else than in float32; "
            "install newer torch and cuDNN, or train with --trainer.precision 32-true."
        )
        examples = [
            f"{c.input} by {c.weight}: relative error {error:.2g}" for c, error in found.wrong
        ]
        return [Finding("warning", "convolutions", text, examples)]
    if found.slowdown > SLOW:
        text = (
            f"In bfloat16 {share} take {found.slowdown:.1f} times as long as in float32; install "
            "newer torch and cuDNN, or train with --trainer.precision 32-true."
        )
        return [Finding("warning", "convolutions", text)]
    text = f"In bfloat16 {share} compute what they do in float32, on {device}."
    return [Finding("note", "convolutions", text)]


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
