"""Late fusion of models with the scores of another method.

N videos, K classes. Pure functions of arrays.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError
from lightning_modules.evaluation.score_files import Contest, Floats

MAX_SEARCHED = 6
"""Models whose weights a search can try on a grid."""

_GRID_STEPS = 10


@dataclass(frozen=True)
class ExternalFusion:
    """A model averaged with the scores of another method, as ST-ResNet's with those of IDT.

    Attributes:
        name: The model.
        alone: Its top-1 accuracy.
        external: That of the other method.
        fused: That of both.
    """

    name: str
    alone: float
    external: float
    fused: float


def fuse_external(contest: Contest, external: Floats) -> list[ExternalFusion]:
    """Fuse each model with external scores: the mean of both, each scaled to length 1 per video.

    Of the model those are the network's own outputs before softmax, averaged over views and seeds.
    Source: Feichtenhofer et al., Spatiotemporal Residual Networks, Table 4 ("with IDT").

    Args:
        contest: The models.
        external: Scores of the other method in the contest's order, (N, K).
    """
    labels = contest.labels
    found = []
    for contender in contest.contenders:
        logits = np.mean(contender.logits, axis=0)
        fused = unit_rows(logits) + unit_rows(external)
        tops = [float((s.argmax(1) == labels).mean()) for s in (logits, external, fused)]
        found.append(ExternalFusion(contender.name, *tops))
    return found


def unit_rows(scores: Floats) -> Floats:
    """Scale each row to Euclidean length 1; a row of zeros stays, (N, K)."""
    lengths = np.linalg.norm(scores, axis=1, keepdims=True)
    return np.asarray(scores / np.where(lengths > 0, lengths, 1.0))


@dataclass(frozen=True)
class Fusion:
    """Late fusion: the weighted mean of the models' probabilities.

    Attributes:
        weights: Of each model, summing to 1.
        top1: Accuracy of the mean.
        best_single: Accuracy of the best model alone, on the same videos.
        videos: How many those are.
        searched_on: Videos that the weights were searched on, none of them among `videos`; 0 where
            the weights were given.
    """

    weights: tuple[float, ...]
    top1: float
    best_single: float
    videos: int
    searched_on: int


def fuse(contest: Contest, weights: Sequence[float]) -> Fusion:
    """Fuse with given weights, which need not sum to 1."""
    shares = tuple(weight / sum(weights) for weight in weights)
    return _fused(contest, shares, np.ones(len(contest.labels), dtype=bool), searched_on=0)


def search_fusion(contest: Contest) -> Fusion:
    """Search weights on one half of the videos and report on the other.

    A video's half is a function of its id. Weights are tenths; of equally good ones the most even
    are taken.
    """
    searched = np.array([hashlib.sha256(v.encode()).digest()[0] % 2 for v in contest.video_ids]) > 0
    if searched.all() or not searched.any():
        raise UserError("there are too few videos to search weights on one half; give weights")
    count = len(contest.contenders)
    scores = np.stack([contender.mean_scores[searched] for contender in contest.contenders])
    best, best_key = (1 / count,) * count, (-1.0, 0.0)
    for cuts in itertools.combinations_with_replacement(range(_GRID_STEPS + 1), count - 1):
        edges = (0, *cuts, _GRID_STEPS)
        shares = tuple((b - a) / _GRID_STEPS for a, b in itertools.pairwise(edges))
        right = np.tensordot(shares, scores, 1).argmax(1) == contest.labels[searched]
        key = (float(right.mean()), -sum(share**2 for share in shares))
        if key > best_key:
            best, best_key = shares, key
    return _fused(contest, best, ~searched, searched_on=int(searched.sum()))


def _fused(
    contest: Contest, shares: tuple[float, ...], used: NDArray[np.bool_], searched_on: int
) -> Fusion:
    scores = [contender.mean_scores[used] for contender in contest.contenders]
    labels = contest.labels[used]
    mean = np.tensordot(shares, np.stack(scores), 1)
    alone = max(float((s.argmax(1) == labels).mean()) for s in scores)
    top1 = float((mean.argmax(1) == labels).mean())
    return Fusion(shares, top1, alone, int(used.sum()), searched_on)
