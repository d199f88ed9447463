"""Two forms of one operation, timed in turns in one process; what the operations' scripts share."""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

Operation = Callable[[Tensor], Tensor]


def parse_options(description: str) -> argparse.Namespace:
    """Read `--device`, `--threads` and `--repeats`; set the threads and the seed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--repeats", type=int, default=15, help="timed pairs per input")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return options


def time_both(plain: Operation, fast: Operation, x: Tensor, repeats: int) -> str:
    """Check that both give the same, then time them in turns, in training and in inference.

    Args:
        plain: What stands for the definition.
        fast: What the networks use.
        x: Input of both.
        repeats: Timed pairs, after one that is not counted.

    Returns:
        Median milliseconds of either and the median ratio, in training and in inference.
    """
    x.requires_grad_()
    torch.testing.assert_close(fast(x), plain(x), rtol=1e-3, atol=1e-3)
    cells = []
    for training in (True, False):
        pairs = [
            (time_call(plain, x, training), time_call(fast, x, training))
            for _ in range(repeats + 1)
        ][1:]
        first, second = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        cells.append(f"{first:9.1f} {second:9.1f} {ratio:6.2f}")
    return "  ".join(cells)


def time_call(run: Operation, x: Tensor, training: bool) -> float:
    """Time one call, with its backward pass when training; seconds."""
    start = time.perf_counter()
    with torch.set_grad_enabled(training):
        y = run(x)
        if training:
            torch.autograd.backward(y.sum())
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
