"""How the CoST(a) operation runs faster: three convolutions, three folded ones, or a merged one.

All give the same numbers (`models.cost_forms`). They are timed in turns, in one process, on the
inputs that the operation sees in `cost_a_tiny` (clips of 8 x 64 x 64) and in `cost_a_r50` (clips of
8 x 224 x 224). Printed is the time of the merged form and how many times as fast the others are;
then what `table_1` takes there and how many times as slow that is as the fastest. Last the whole
network in evaluation, `table_1` against each form.

    uv run python benchmarks/cost_operation.py
"""

import copy
import statistics
from typing import get_args

import torch
from operation_timing import parse_options, time_call
from torch import Tensor, nn

from models import get_model
from models.cost import CoSTOperation, CoSTOperationA
from models.cost_forms import Form, FormOption

# (C, T, H = W, stride) of the operations, from the input on, and the numbers of clips
TINY = [(16, 8, 16, 1), (32, 4, 16, 2), (64, 4, 8, 2)]
R50 = [
    *[(64, 8, 56, 1), (128, 4, 56, 2), (128, 4, 28, 1), (256, 4, 28, 2)],
    *[(256, 4, 14, 1), (512, 4, 14, 2), (512, 4, 7, 1)],
]
CLIPS = {"tiny": (1, 32), "r50": (1, 2, 4, 10)}


def in_form(module: nn.Module, form: FormOption) -> nn.Module:
    """Copy a module, with the same parameters, whose CoST operations take another form."""
    copied = copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})
    for layer in copied.modules():
        if isinstance(layer, CoSTOperation):
            layer.form = form
    return copied


def medians(runs: list[nn.Module], x: Tensor, repeats: int, *, training: bool) -> list[float]:
    """Time modules in turns; median seconds of each, after a round that is not counted."""
    expected, *others = (run(x) for run in runs)
    for found in others:
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    rounds = [[time_call(run, x, training) for run in runs] for _ in range(repeats + 1)][1:]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def row(clips: int, sizes: tuple[int, int, int, int], device: str, repeats: int) -> str:
    """Compare the forms on one input; a row of a Markdown table."""
    channels, frames, side, stride = sizes
    table = CoSTOperationA(channels, channels, stride).to(device)
    forms = get_args(Form)
    x = torch.randn(clips, channels, frames, side, side, device=device, requires_grad=True)
    taken = table.form_for(x)
    cells = [f"{clips}, {channels}, {frames}, {side}", str(stride)]
    for training in (True, False):
        runs = [in_form(table, form) for form in forms]
        times = dict(zip(forms, medians(runs, x, repeats, training=training), strict=True))
        others = [f"{times['merged'] / times[form]:.2f}" for form in ("separate", "folded")]
        lost = times[taken] / min(times.values())
        cells.append(f"{times['merged'] * 1e3:.1f}, {', '.join(others)}; {lost:.2f}")
    return f"| {' | '.join([*cells, taken])} |"


def main() -> None:
    """Print the table, then the rows of whole networks."""
    options = parse_options(__doc__.splitlines()[0])
    print("| input B, C, T, H = W | stride | training: merged (ms), separate, folded; lost |"
          " inference | `table_1` |\n|---|---|---|---|---|")  # fmt: skip
    for name, inputs in (("tiny", TINY), ("r50", R50)):
        for clips in CLIPS[name]:
            for sizes in inputs:
                print(row(clips, sizes, options.device, options.repeats), flush=True)
    for name in ("cost_a_r50", "cost_b_r50"):
        network = get_model(name, 400).eval().to(options.device)
        (clip,) = (x.to(options.device) for x in network.example_inputs(1, 8, 224))
        forms: list[FormOption] = ["table_1", "separate", "folded", "merged"]
        forms = forms[: 4 if name == "cost_a_r50" else 3]
        runs = [in_form(network, form) for form in forms]
        first, *rest = medians(runs, clip, options.repeats, training=False)
        ratios = ", ".join(
            f"{form} {seconds / first:.2f}" for form, seconds in zip(forms[1:], rest, strict=True)
        )
        print(f"{name}, one clip, inference: {first * 1e3:.0f} ms; times as long: {ratios}")


if __name__ == "__main__":
    main()
