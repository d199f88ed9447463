"""Late fusion of models, and with the scores of another method, run by run.

N videos, K classes, S runs of a model. Run i of one model is fused with run i of the others; a
model of one run is fused with each. So a fusion is as far from an ensemble of runs as a single
network is. Pure functions of arrays.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError
from lightning_modules.evaluation.intervals import Estimate, share_interval
from lightning_modules.evaluation.score_files import Contest, Floats, Integers
from lightning_modules.evaluation.variance import Groups, components, mean_over_videos

Fused = Literal["probabilities", "logits"]
FUSED: tuple[Fused, ...] = get_args(Fused)
"""What late fusion averages: after or before the softmax."""

MAX_SEARCHED = 6
"""Models whose weights a search can try on a grid."""

_GRID_STEPS = 10


@dataclass(frozen=True)
class ExternalFusion:
    """A model averaged with the scores of another method, as ST-ResNet's with those of IDT.

    Attributes:
        name: The model.
        alone: Its top-1 accuracy, averaged over its runs.
        external: That of the other method.
        fused: That of both, averaged over the runs.
    """

    name: str
    alone: float
    external: float
    fused: float


def fuse_external(contest: Contest, external: Floats) -> list[ExternalFusion]:
    """Fuse each run of each model with external scores: the mean of both at length 1 per video.

    Of the model those are the network's own outputs before softmax, averaged over the views.
    Source: Feichtenhofer et al., Spatiotemporal Residual Networks, Table 4 ("with IDT").

    Args:
        contest: The models.
        external: Scores of the other method in the contest's order, (N, K).
    """

    def top1(scores: Floats) -> float:
        return float((scores.argmax(axis=1) == contest.labels).mean())

    return [
        ExternalFusion(
            contender.name,
            alone=float(np.mean([top1(run) for run in contender.logits])),
            external=top1(external),
            fused=float(
                np.mean([top1(unit_rows(run) + unit_rows(external)) for run in contender.logits])
            ),
        )
        for contender in contest.contenders
    ]


def unit_rows(scores: Floats) -> Floats:
    """Scale each row to Euclidean length 1; a row of zeros stays, (N, K)."""
    lengths = np.linalg.norm(scores, axis=1, keepdims=True)
    return np.asarray(scores / np.where(lengths > 0, lengths, 1.0))


@dataclass(frozen=True)
class Fusion:
    """Late fusion: the weighted mean of the models' probabilities or logits.

    Attributes:
        fused: What is averaged.
        weights: Of each model, summing to 1.
        top1: Accuracy of the mean, averaged over the runs.
        best_single: Accuracy of the best model alone, averaged over its runs, on the same videos.
        runs: Number of fusions of one run each.
        videos: Number of videos.
        searched_on: Videos that the weights were searched on, none of them, nor of their groups,
            among `videos`; 0 where the weights were given.
    """

    fused: Fused
    weights: tuple[float, ...]
    top1: Estimate
    best_single: float
    runs: int
    videos: int
    searched_on: int


def runs_match(contest: Contest) -> bool:
    """Tell whether each model has as many runs as the others, or one."""
    return len({len(contender.scores) for contender in contest.contenders} - {1}) <= 1


def fuse(contest: Contest, weights: Sequence[float], fused: Fused) -> Fusion:
    """Fuse with given weights, which need not sum to 1.

    Args:
        contest: The models; see `runs_match`.
        weights: Of each model.
        fused: What is averaged.
    """
    shares = tuple(weight / sum(weights) for weight in weights)
    every = np.ones(len(contest.labels), dtype=bool)
    return _fused(contest, shares, every, fused, searched_on=0)


def search_fusion(contest: Contest, fused: Fused) -> Fusion:
    """Search weights on one half of the videos and report on the other.

    The videos of a group are in one half, which is a function of the name of the first of them.
    Weights are tenths; of equally good ones the most even are taken.

    Args:
        contest: The models; see `runs_match`.
        fused: What is averaged.
    """
    searched = _half(contest)
    if searched.all() or not searched.any():
        raise UserError(
            "there are too few videos, or groups of videos, to search weights on one half; give "
            "weights"
        )
    count = len(contest.contenders)
    scores, labels = _scores(contest, searched, fused), contest.labels[searched]
    best, best_key = (1 / count,) * count, (-1.0, 0.0)
    for shares in _grid(count):
        right = _right(scores, labels, shares)
        key = (float(right.mean()), -sum(share**2 for share in shares))
        if key > best_key:
            best, best_key = shares, key
    return _fused(contest, best, ~searched, fused, searched_on=int(searched.sum()))


def _half(contest: Contest) -> NDArray[np.bool_]:
    """Choose half of the groups, (N,)."""
    first: dict[int, str] = {}
    for group, video in zip(contest.groups.tolist(), contest.video_ids, strict=True):
        first[group] = min(video, first.get(group, video))
    odd = {g: hashlib.sha256(name.encode()).digest()[0] % 2 for g, name in first.items()}
    return np.array([odd[group] for group in contest.groups.tolist()]) > 0


def _grid(count: int) -> Iterator[tuple[float, ...]]:
    """List the weights that are tried."""
    for cuts in itertools.combinations_with_replacement(range(_GRID_STEPS + 1), count - 1):
        edges = (0, *cuts, _GRID_STEPS)
        yield tuple((b - a) / _GRID_STEPS for a, b in itertools.pairwise(edges))


def _scores(contest: Contest, used: NDArray[np.bool_], fused: Fused) -> list[list[Floats]]:
    """Take each model's runs over some videos, M times S times (N', K)."""
    models = contest.contenders
    runs = [c.scores if fused == "probabilities" else c.logits for c in models]
    if used.all():  # of large files no copies are made
        return [list(model) for model in runs]
    return [[run[used] for run in model] for model in runs]


def _right(scores: list[list[Floats]], labels: Integers, shares: tuple[float, ...]) -> Floats:
    """Find which videos the fusion of each run has right, (N', S)."""
    columns = []
    for number in range(max(map(len, scores))):
        runs = [model[number] if len(model) > 1 else model[0] for model in scores]
        mean = np.zeros_like(runs[0])
        for share, run in zip(shares, runs, strict=True):
            mean += share * run
        columns.append(mean.argmax(axis=1) == labels)
    return np.stack(columns, axis=1).astype(np.float64)


def _fused(
    contest: Contest,
    shares: tuple[float, ...],
    used: NDArray[np.bool_],
    fused: Fused,
    searched_on: int,
) -> Fusion:
    groups, labels = Groups.of(contest.groups[used]), contest.labels[used]
    right = _right(_scores(contest, used, fused), labels, shares)
    parts = components(mean_over_videos(right), groups)
    if min(len(contender.scores) for contender in contest.contenders) == 1:
        parts = parts.without_runs()
    alone = [
        float(np.mean([(run.argmax(axis=1) == labels).mean() for run in model]))
        for model in _scores(contest, used, "probabilities")
    ]
    return Fusion(
        fused=fused,
        weights=shares,
        top1=share_interval(parts, groups),
        best_single=max(alone),
        runs=right.shape[1],
        videos=int(used.sum()),
        searched_on=searched_on,
    )
