"""How the CoST(a) operation runs faster: one merged convolution, or the three of equation 1.

CoST(a)'s coefficients do not depend on the clip, so both give the same numbers. The two are timed
in turns, in one process, on the inputs that the operation sees in `cost_a_tiny` (32 clips of
8 x 64 x 64) and in `cost_a_r50` (one clip of 8 x 224 x 224); a ratio above 1 means that the merged
form, which `models.cost` uses, is the faster.

    uv run python benchmarks/cost_operation.py
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.cost import CoSTOperationA

# (B, C, T, H = W, stride) of the operations, from the input on
TINY = [(32, 16, 8, 16, 1), (32, 32, 4, 16, 2), (32, 64, 4, 8, 2)]
R50 = [(1, 64, 8, 56, 1), (1, 128, 4, 56, 2), (1, 256, 4, 14, 1), (1, 512, 4, 7, 1)]
PADDING = ((0, 1, 1), (1, 0, 1), (1, 1, 0))


def three_convolutions(operation: CoSTOperationA, x: Tensor) -> Tensor:
    """Equations 1 and 2 as they are written, (B, C, T, H, W) to (B, C', T, H', W')."""
    x = x.contiguous()
    shares = operation.logits.softmax(1).t()[..., None, None, None]
    parts = [
        share * F.conv3d(x, kernel, stride=operation.stride, padding=padding)
        for share, kernel, padding in zip(shares, operation.view_kernels(), PADDING, strict=True)
    ]
    y: Tensor = parts[0] + parts[1] + parts[2]
    return y


def seconds(run: Callable[[Tensor], Tensor], x: Tensor, training: bool) -> float:
    """Time one call, with its backward pass when training."""
    start = time.perf_counter()
    with torch.set_grad_enabled(training):
        y = run(x)
        if training:
            torch.autograd.backward(y.sum())
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(shape: tuple[int, int, int, int, int], device: str, repeats: int) -> str:
    """Time both forms on one input; one line of the table."""
    clips, channels, frames, size, stride = shape
    operation = CoSTOperationA(channels, channels, stride).to(device)
    x = torch.randn(clips, frames, channels, size, size, device=device).transpose(1, 2)
    x.requires_grad_()
    torch.testing.assert_close(operation(x), three_convolutions(operation, x), rtol=1e-3, atol=1e-3)
    cells = [f"{shape!s:<22}"]
    for training in (True, False):
        pairs = [
            (
                seconds(lambda x: three_convolutions(operation, x), x, training),
                seconds(operation, x, training),
            )
            for _ in range(repeats + 1)
        ][1:]
        three, merged = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        cells.append(f"{three:9.1f} {merged:9.1f} {ratio:6.2f}")
    return "  ".join(cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--repeats", type=int, default=15, help="timed pairs per input")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"{'':<22}  {'training: three, merged (ms), ratio':^26}  inference: the same")
    for shape in TINY + R50:
        print(compare(shape, arguments.device, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
