"""Temporal corruptions: a video of N frames whose frames stand in another order.

Each is a map of the whole video, frame i of the corrupted one is frame `sources[i]` of the plain
one, from which clips are then drawn as from any video.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_jumbled", "frozen_at_random", "jumbled", "sampled", "sampled_backwards"]

Sources: TypeAlias = NDArray[np.int64]


def sampled(num_frames: int, rate: int, _: np.random.Generator) -> Sources:
    """Hold every `rate`-th frame until the next, (N,)."""
    return np.arange(num_frames) // rate * rate


def sampled_backwards(num_frames: int, rate: int, rng: np.random.Generator) -> Sources:
    """Show the frames of `sampled` from last to first, (N,)."""
    return sampled(num_frames, rate, rng)[::-1]


def jumbled(num_frames: int, length: int, rng: np.random.Generator) -> Sources:
    """Shuffle the frames within each segment of `length` frames, (N,)."""
    segments = np.arange(num_frames) // length
    return np.lexsort((rng.random(num_frames), segments))


def box_jumbled(num_frames: int, length: int, rng: np.random.Generator) -> Sources:
    """Shuffle segments of `length` frames, whose own frames stay in order, (N,)."""
    segments = np.arange(num_frames) // length
    places = rng.permutation(-(-num_frames // length))
    return np.argsort(places[segments], kind="stable")


def frozen_at_random(num_frames: int, share: float, rng: np.random.Generator) -> Sources:
    """Keep a random share of the frames, each held until the next, (N,).

    Before the first of them stands that one. A share of 0 keeps a single frame.
    """
    least = 2 if 0 < share <= 0.05 else 1
    count = min(num_frames, max(least, int(share * num_frames)))
    kept = np.sort(rng.choice(num_frames, count, replace=False))
    return kept[np.maximum(np.searchsorted(kept, np.arange(num_frames), side="right") - 1, 0)]
