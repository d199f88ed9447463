"""Space-time self-similarity (STSS), the operation that SELFY is made of.

Kwon et al., Learning Self-Similarity in Space and Time as Generalized Motion for Video Action
Recognition, ICCV 2021 (arXiv 2102.07092), section 3.1. Plain tensor operations, no extension.

Axes: B clips, C channels, T frames, H rows, W columns, L temporal offsets, U rows and V columns of
the window.
"""

import math
from collections.abc import Sequence
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
    channels, (height, width) = features.shape[1], features.shape[3:]
    if similarity == "cosine":
        query = features * (features.square().sum(1, keepdim=True) + EPSILON).rsqrt()
        key = query
    else:
        query, key = features / math.sqrt(channels), features
    radius = window // 2
    shifted = torch.stack([shift_time(key, offset) for offset in offsets], dim=1)
    shifted = F.pad(shifted, (radius, radius, radius, radius))  # (B, L, C, T, H + 2R, W + 2R)
    query = query.unsqueeze(1)
    scores = [
        (query * shifted[..., u : u + height, v : v + width]).sum(2)
        for u in range(window)
        for v in range(window)
    ]
    stacked = torch.stack(scores, dim=-1)  # (B, L, T, H, W, U*V)
    if similarity == "softmax":
        stacked = stacked.softmax(-1)
    ordered = stacked.permute(0, 2, 3, 4, 1, 5)
    return ordered.reshape(*ordered.shape[:-1], window, window)


def shift_time(features: Tensor, offset: int) -> Tensor:
    """Frame t + offset in the place of frame t, zeros beyond the clip: (B, C, T, H, W)."""
    frames = features.shape[2]
    if abs(offset) >= frames:
        return torch.zeros_like(features)
    if offset > 0:
        return F.pad(features[:, :, offset:], (0, 0, 0, 0, 0, offset))
    return F.pad(features[:, :, : frames + offset], (0, 0, 0, 0, -offset, 0))
