"""How the CoST(a) operation runs faster: one merged convolution, or the three of equation 1.

CoST(a)'s coefficients do not depend on the clip, so both give the same numbers. The two are timed
in turns, in one process, on the inputs that the operation sees in `cost_a_tiny` (32 clips of
8 x 64 x 64) and in `cost_a_r50` (one clip of 8 x 224 x 224); a ratio above 1 means that the merged
form, which `models.cost` uses, is the faster.

    uv run python benchmarks/cost_operation.py
"""

import functools

import torch
import torch.nn.functional as F
from operation_timing import parse_options, time_both
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


def main() -> None:
    """Print the table."""
    options = parse_options(__doc__.splitlines()[0])
    print(f"{'':<22}  {'training: three, merged (ms), ratio':^26}  inference: the same")
    for clips, channels, frames, size, stride in TINY + R50:
        operation = CoSTOperationA(channels, channels, stride).to(options.device)
        x = torch.randn(clips, frames, channels, size, size, device=options.device)
        three = functools.partial(three_convolutions, operation)
        times = time_both(three, operation, x.transpose(1, 2), options.repeats)
        print(f"{(clips, channels, frames, size, stride)!s:<22}  {times}", flush=True)


if __name__ == "__main__":
    main()
