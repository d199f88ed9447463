"""Space-time self-similarity (STSS), the operation that SELFY is made of.

Kwon et al., Learning Self-Similarity in Space and Time as Generalized Motion for Video Action
Recognition, ICCV 2021 (arXiv 2102.07092), section 3.1. Plain tensor operations, no extension: one
matrix product compares a row of positions with all rows of the window, and the window's columns
are a diagonal band of it. It computes (W + V - 1) / V times what is kept, as matrix products, which
is far faster than the U x V shifted sums of the definition (`benchmarks/self_similarity.py`).

Axes: B clips, C channels, T frames, H rows, W columns, L temporal offsets, U rows and V columns of
the window.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Similarity = Literal["cosine", "dot", "softmax"]

EPSILON = 1e-6
"""Added to the squared norm, inside the square root, as in the authors' code."""


def self_similarity(
    features: Tensor,
    offsets: Sequence[int],
    window: int,
    similarity: Similarity = "cosine",
) -> Tensor:
    """Similarity of every position to all positions of a space-time window around it.

    S[b, t, y, x, l, u, v] compares position (y, x) of frame t with position (y + u - R, x + v - R)
    of frame t + offsets[l], where R = window // 2. Frames beyond the clip and positions beyond the
    border are zero vectors. Computed in float32 whatever the features' type.

    Args:
        features: Features, (B, C, T, H, W).
        offsets: Distances in time, in frames.
        window: U = V, odd.
        similarity: `cosine`, the paper's; `dot`, the scaled dot product; `softmax`, the scaled dot
            product with a softmax over each window.

    Returns:
        S, (B, T, H, W, L, U, V) float32 (float64 for float64 features).
    """
    features = features if features.dtype == torch.float64 else features.float()
    if similarity == "cosine":
        query = features * (features.square().sum(1, keepdim=True) + EPSILON).rsqrt()
        key = query
    else:
        query, key = features / math.sqrt(features.shape[1]), features
    products = _products(query, key, offsets, window)
    # In the place of a frame, its products with the frame at each offset
    scores = [shift_time(part, offset) for part, offset in zip(products, offsets, strict=True)]
    stacked = torch.stack(scores, dim=4).transpose(0, 1)
    if similarity == "softmax":
        stacked = stacked.flatten(-2).softmax(-1).view_as(stacked)
    return stacked


def _products(
    query: Tensor, key: Tensor, offsets: Sequence[int], window: int
) -> tuple[Tensor, ...]:
    """Products of the windows of each frame with the frame that sees it at each offset.

    Args:
        query: Features, (B, C, T, H, W).
        key: Features, (B, C, T, H, W).
        offsets: Distances in time, in frames.
        window: U = V.

    Returns:
        For each offset l, (T, B, H, W, U, V): frame t - offsets[l] compared with frame t.
    """
    width, radius = query.shape[4], window // 2
    seeing = query.permute(2, 0, 3, 4, 1)
    queries = torch.stack([shift_time(seeing, -offset) for offset in offsets], dim=3)
    padded = F.pad(key.permute(2, 0, 3, 4, 1), (0, 0, radius, radius, radius, radius))
    # The U rows around each row, (T, B, H, U * (W + V - 1), C)
    rows = padded.unfold(2, window, 1).permute(0, 1, 2, 5, 3, 4).flatten(3, 4)
    length = rows.shape[3]
    with _without_autocast(query):
        products = queries.flatten(3, 4) @ rows.transpose(-1, -2)
    products = products.view(*products.shape[:3], len(offsets), width * length)
    # Cut into rows one longer than they are, each starts one later: the band becomes a block.
    skewed = F.pad(products, (0, width)).view(*products.shape[:4], width, length + 1)
    block = skewed[..., :length]
    band = block.reshape(*block.shape[:5], window, -1)[..., :window]
    return band.unbind(3)


def shift_time(frames: Tensor, offset: int) -> Tensor:
    """Frame t + offset in the place of frame t, zeros beyond the clip: (T, ...) to (T, ...)."""
    count = frames.shape[0]
    before, after = min(max(0, -offset), count), min(max(0, offset), count)
    return F.pad(frames[after : count - before], (0, 0) * (frames.ndim - 1) + (before, after))


def _without_autocast(features: Tensor) -> AbstractContextManager[None]:
    """Matrix products keep their inputs' type; the meta device has no autocast to leave."""
    kind = features.device.type
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)


def comparison_macs(
    sizes: tuple[int, int, int, int], offsets: Sequence[int], window: int
) -> tuple[int, int]:
    """Multiply-adds of `self_similarity` for one clip.

    Args:
        sizes: C, T, H and W of the features.
        offsets: Distances in time, in frames.
        window: U = V.

    Returns:
        Those of the definition, L x U x V x C for every position, and those of the matrix product.
    """
    row = math.prod(sizes) * len(offsets) * window
    return row * window, row * (sizes[3] + window - 1)
