"""How space-time self-similarity runs faster: as matrix products of rows, or in the usual ways.

`shifted` adds up U x V shifted products, the definition as one writes it down; `all pairs` compares
every position with every position of the other frame and picks the window's, what the authors' code
falls back to where its compiled extension is missing. All give the same numbers. Each is timed in
turns with `models.self_similarity`, in one process, on what the operation sees in `selfy_tsm_tiny`
(32 clips of 8 x 64 x 64) and after res3 of `selfy_tsm_r50` (8 frames of 224 x 224 and of 240 x 320
pixels); a ratio above 1 means that `models.self_similarity` is the faster.

`convolutions` are those of the extraction that follows, on the similarities of `selfy_tsm_tiny`: as
such, and as the matrix products that `models.similarity_extraction` makes of them on the CPU.

    uv run python benchmarks/self_similarity.py
"""

import functools

import torch
import torch.nn.functional as F
from operation_timing import parse_options, time_both
from torch import Tensor, nn

from models.self_similarity import EPSILON, self_similarity
from models.similarity_extraction import DENSE_WINDOW, SimilarityConvolution

OFFSETS = (-2, -1, 0, 1, 2)
# window, then (B, C, T, H, W) of the features
INPUTS = [
    (5, (32, 32, 8, 8, 8)),
    (9, (2, 128, 8, 14, 14)),
    (9, (1, 128, 8, 15, 20)),
]


def shifted_sums(window: int, features: Tensor) -> Tensor:
    """(B, C, T, H, W) to (B, T, H, W, L, U, V): a shifted product for every place of a window."""
    height, width = features.shape[3:]
    query, keys = _query_and_keys(features)
    radius = window // 2
    keys = F.pad(keys, (radius, radius, radius, radius))
    sums = [
        (query * keys[..., u : u + height, v : v + width]).sum(2)
        for u in range(window)
        for v in range(window)
    ]
    stacked = torch.stack(sums, dim=-1).unflatten(-1, (window, window))
    return stacked.permute(0, 2, 3, 4, 1, 5, 6)


def all_pairs(window: int, features: Tensor) -> Tensor:
    """The same, from the product of all positions of two frames."""
    height, width = features.shape[3:]
    radius = window // 2
    query, keys = _query_and_keys(features)
    keys = F.pad(keys, (radius, radius, radius, radius))
    wide = width + 2 * radius
    pairs = query.flatten(4).permute(0, 1, 3, 4, 2) @ keys.flatten(4).transpose(2, 3)
    place = torch.arange(height * width, device=features.device)
    corner = place // width * wide + place % width
    steps = torch.arange(window, device=features.device)
    inside = (steps[:, None] * wide + steps).flatten()
    index = corner[:, None] + inside
    picked = pairs.gather(-1, index.expand(*pairs.shape[:3], *index.shape))
    maps = picked.unflatten(-1, (window, window)).unflatten(3, (height, width))
    return maps.permute(0, 2, 3, 4, 1, 5, 6)


def _query_and_keys(features: Tensor) -> tuple[Tensor, Tensor]:
    """Unit features (B, 1, C, T, H, W), and those of the other frames, (B, L, C, T, H, W)."""
    unit = features * (features.square().sum(1, keepdim=True) + EPSILON).rsqrt()
    frames = features.shape[2]
    longest = max(abs(offset) for offset in OFFSETS)
    padded = F.pad(unit, (0, 0, 0, 0, longest, longest))
    keys = [padded[:, :, longest + offset :][:, :, :frames] for offset in OFFSETS]
    return unit.unsqueeze(1), torch.stack(keys, dim=1)


def main() -> None:
    """Print the table."""
    options = parse_options(__doc__.splitlines()[0])
    print(f"{'':<33}  {'training: usual, ours (ms), ratio':^26}  inference: the same")
    for window, shape in INPUTS:
        x = torch.relu(torch.randn(shape, device=options.device))
        ours = functools.partial(self_similarity, offsets=OFFSETS, window=window)
        for name, usual in (("shifted", shifted_sums), ("all pairs", all_pairs)):
            times = time_both(functools.partial(usual, window), ours, x, options.repeats)
            print(f"{shape!s:<21} {name:<12} {times}", flush=True)
    layers = SimilarityConvolution(DENSE_WINDOW, 32).to(options.device)
    maps = torch.rand(16 * 8 * 8 * 8 * 5, 1, DENSE_WINDOW, DENSE_WINDOW, device=options.device)
    usual = functools.partial(nn.Sequential.forward, layers)
    times = time_both(usual, layers, maps, options.repeats)
    print(f"{tuple(maps.shape)!s:<21} {'convolutions':<12} {times}")


if __name__ == "__main__":
    main()
