"""Two or more models on the same videos: accuracies with intervals, paired tests, fusion.

N videos, K classes, S seeds of a model, R bootstrap replicates. Pure functions of arrays.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_modules.evaluation.score_files import Contest, Floats, Integers

METRICS = ("top1", "top5", "mean_class")
"""Accuracy of the first guess, of the first five, and the first's mean over the classes."""


_CHUNK_VALUES = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, as fractions.

    Attributes:
        value: Of the videos that were tested, averaged over the seeds.
        low: 2.5 % of the replicates lie below.
        high: 2.5 % lie above.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """A model against the first one, over the same videos.

    Attributes:
        difference: Of each metric, the model's minus the first's.
        bootstrap_p: Two-sided p of no difference in top-1, by the paired bootstrap.
        mcnemar_p: The same by McNemar's exact test; None where a model has several seeds.
        only_first: Videos that the first alone has right, averaged over the seeds.
        only_other: Videos that the other alone has right.
        agreement: Share of videos that both call the same.
    """

    difference: dict[str, Estimate]
    bootstrap_p: float
    mcnemar_p: float | None
    only_first: float
    only_other: float
    agreement: float


@dataclass(frozen=True)
class Comparison:
    """Results of a contest.

    Attributes:
        accuracy: Of each contender, each metric that has a meaning for this number of classes.
        against_first: Of each contender but the first.
        per_class: Accuracy of each contender in each class, (M, K), NaN without videos.
        confusion: Of each contender the share of each class's videos that are called what, averaged
            over the seeds, (M, K, K), true class first, 0 without videos.
    """

    accuracy: list[dict[str, Estimate]]
    against_first: list[Paired]
    per_class: Floats
    confusion: Floats


def compare(contest: Contest, replicates: int = 2000, seed: int = 0) -> Comparison:
    """Compare the models of a contest.

    The bootstrap draws videos, the same for all models, and each model's seeds. Deviations by seed
    are stretched by sqrt(S / (S - 1)), so that few seeds do not make the interval too narrow.

    Args:
        contest: Scores of all models.
        replicates: R.
        seed: Of the draws.
    """
    labels, num_classes = contest.labels, len(contest.class_names)
    hits = [_hits(contender.scores, labels) for contender in contest.contenders]
    metrics = [name for name in METRICS if name != "top5" or num_classes > 5]
    values = [[_measure(h, labels, num_classes) for h in seeds] for seeds in hits]
    draws = _bootstrap(hits, labels, num_classes, replicates, seed)
    accuracy = [
        {
            m: _estimate(float(np.mean([v[m] for v in values[i]])), draws[i][m].clip(0, 1))
            for m in metrics
        }
        for i in range(len(hits))
    ]
    guesses = [[s.argmax(axis=1) for s in contender.scores] for contender in contest.contenders]
    against_first = []
    for i in range(1, len(hits)):
        difference = {
            m: _estimate(accuracy[i][m].value - accuracy[0][m].value, draws[i][m] - draws[0][m])
            for m in metrics
        }
        p = _bootstrap_p(draws[i]["top1"] - draws[0]["top1"])
        against_first.append(_pair(hits[0], hits[i], guesses[0], guesses[i], difference, p))
    per_class = [np.mean([_per_class(h["top1"], labels, num_classes) for h in s], 0) for s in hits]
    confusion = [np.mean([_confusion(g, labels, num_classes) for g in s], 0) for s in guesses]
    return Comparison(accuracy, against_first, np.stack(per_class), np.stack(confusion))


Hits = dict[str, Floats]
"""For top1 and top5: 1 where a video is right, (N,)."""


def _hits(scores: Sequence[Floats], labels: Integers) -> list[Hits]:
    """Of each seed."""
    found = []
    for seed in scores:
        own = np.take_along_axis(seed, labels[:, None], axis=1)
        # ties count for the lower class, as argmax has it
        before = (seed > own) | ((seed == own) & (np.arange(seed.shape[1]) < labels[:, None]))
        rank = before.sum(axis=1)
        found.append({"top1": (rank < 1).astype(float), "top5": (rank < 5).astype(float)})
    return found


def _per_class(right: Floats, labels: Integers, num_classes: int) -> Floats:
    """Compute the accuracy of each class, (K,), NaN without videos."""
    totals = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=right, minlength=num_classes)
    return np.where(totals > 0, sums / np.maximum(totals, 1), np.nan)


def _confusion(guesses: NDArray[np.intp], labels: Integers, num_classes: int) -> Floats:
    """Compute the confusion matrix as shares of each row, (K, K), 0 without videos."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (labels, guesses), 1)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _measure(hits: Hits, labels: Integers, num_classes: int) -> dict[str, float]:
    return {
        "top1": float(hits["top1"].mean()),
        "top5": float(hits["top5"].mean()),
        "mean_class": float(np.nanmean(_per_class(hits["top1"], labels, num_classes))),
    }


def _bootstrap(
    hits: list[list[Hits]], labels: Integers, num_classes: int, replicates: int, seed: int
) -> list[dict[str, Floats]]:
    """Compute each metric of each model in each replicate, (R,)."""
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(labels[order]) != 0])
    tables = [
        {name: np.stack([h[name][order] for h in seeds], axis=1) for name in ("top1", "top5")}
        for seeds in hits
    ]
    parts: list[list[dict[str, Floats]]] = [[] for _ in hits]
    for counts in _video_counts(rng, len(labels), replicates):
        totals = np.add.reduceat(counts, starts, axis=1)  # (R, K present)
        for model, table in enumerate(tables):
            by_seed = {name: counts @ table[name] / len(labels) for name in table}
            by_seed["mean_class"] = np.stack(
                [_class_mean(counts * right, totals, starts) for right in table["top1"].T], axis=1
            )
            weights = _seed_weights(rng, len(counts), table["top1"].shape[1])
            parts[model].append({m: (by_seed[m] * weights).sum(1) for m in METRICS})
    return [{m: np.concatenate([p[m] for p in model]) for m in METRICS} for model in parts]


def _video_counts(rng: np.random.Generator, videos: int, replicates: int) -> Iterator[Floats]:
    """Count each replicate's draws of each video, (R', N), a chunk of replicates at a time."""
    chunk = max(1, _CHUNK_VALUES // videos)
    for start in range(0, replicates, chunk):
        size = min(chunk, replicates - start)
        drawn = rng.integers(videos, size=(size, videos)) + videos * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * videos)
        yield counts.reshape(size, videos).astype(float)


def _class_mean(right: Floats, totals: Floats, starts: Integers) -> Floats:
    """Average over the classes that a replicate has, (R,)."""
    sums = np.add.reduceat(right, starts, axis=1)
    drawn = totals > 0
    shares = np.where(drawn, sums / np.maximum(totals, 1), 0.0)
    return np.asarray(shares.sum(axis=1) / drawn.sum(axis=1))


def _seed_weights(rng: np.random.Generator, replicates: int, seeds: int) -> Floats:
    """Draw the weight of each seed in each replicate, (R, S); the mean weight is 1 / S."""
    if seeds == 1:
        return np.ones((replicates, 1))
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates) / seeds
    return np.asarray(1 / seeds + (drawn - 1 / seeds) * math.sqrt(seeds / (seeds - 1)))


def _estimate(value: float, draws: Floats) -> Estimate:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))


def _bootstrap_p(differences: Floats) -> float:
    """Two-sided p of no difference: twice the smaller share of replicates beyond zero."""
    below, above = (differences <= 0).sum(), (differences >= 0).sum()
    return float(min(1.0, 2 * (min(below, above) + 1) / (len(differences) + 1)))


def mcnemar_p(only_first: int, only_other: int) -> float:
    """McNemar's exact test: two-sided binomial p of the videos that one model alone has right.

    Args:
        only_first: Videos that the first alone has right.
        only_other: Videos that the other alone has right.
    """
    discordant, fewer = only_first + only_other, min(only_first, only_other)
    term = total = 1
    for k in range(fewer):
        term = term * (discordant - k) // (k + 1)
        total += term
    return min(1.0, float(2 * total / 2**discordant))


def _pair(
    first: list[Hits],
    other: list[Hits],
    first_guesses: Sequence[NDArray[np.intp]],
    other_guesses: Sequence[NDArray[np.intp]],
    difference: dict[str, Estimate],
    bootstrap_p: float,
) -> Paired:
    pairs = list(itertools.product(first, other))
    only_first = np.mean([(a["top1"] > b["top1"]).sum() for a, b in pairs])
    only_other = np.mean([(b["top1"] > a["top1"]).sum() for a, b in pairs])
    same = [(a == b).mean() for a, b in itertools.product(first_guesses, other_guesses)]
    exact = mcnemar_p(int(only_first), int(only_other)) if len(pairs) == 1 else None
    return Paired(
        difference, bootstrap_p, exact, float(only_first), float(only_other), float(np.mean(same))
    )
