"""Two or more models on the same videos: accuracies with intervals, and paired tests.

N videos, K classes, M models, S runs (seeds) of a model. Pure functions of arrays.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightning_modules.evaluation.calibration import Calibration, calibrate, log_loss
from lightning_modules.evaluation.intervals import (
    Estimate,
    Gain,
    gain_of,
    mcnemar_p,
    mean_interval,
    share_interval,
)
from lightning_modules.evaluation.multiplicity import benjamini_hochberg, holm
from lightning_modules.evaluation.score_files import Contest, Floats, Integers
from lightning_modules.evaluation.variance import (
    Groups,
    Measured,
    components,
    mean_over_classes,
    mean_over_videos,
)

METRICS = ("top1", "top5", "mean_class")
"""Accuracy of the first guess, of the first five, and the first's mean over the classes."""


@dataclass(frozen=True)
class PValues:
    """Two-sided p of no difference in top-1.

    Attributes:
        runs: Between these very runs, on videos like these.
        methods: Between the methods; None where one run stands for a method, which cannot know.
        mcnemar: Between these very runs by McNemar's exact test; None with several runs, which it
            does not know, or with groups of videos, which it takes for independent.
    """

    runs: float
    methods: float | None
    mcnemar: float | None


@dataclass(frozen=True)
class Paired:
    """A model against the first one, over the same videos.

    Attributes:
        gains: Of each metric, the model's minus the first's.
        tests: Each as if it were the only model.
        adjusted: The same by Holm's method over all models against the first.
        classes: Gain of each class, (K,); None without videos.
        class_p: Of each class, of these very runs or, where known, of the methods, by the method of
            Benjamini and Hochberg over the classes, (K,); NaN without videos.
        only_first: Videos that the first alone has right, averaged over pairs of runs.
        only_other: Videos that the other alone has right.
        agreement: Share of videos that both call the same.
    """

    gains: dict[str, Gain]
    tests: PValues
    adjusted: PValues
    classes: list[Gain | None]
    class_p: Floats
    only_first: float
    only_other: float
    agreement: float


@dataclass(frozen=True)
class Comparison:
    """Results of a contest.

    Attributes:
        accuracy: Of each contender, each metric that has a meaning for this number of classes.
        log_loss: Of each contender, the mean negative log-likelihood in nats.
        calibration: Of each contender.
        against_first: Of each contender but the first.
        per_class: Accuracy of each contender in each class, (M, K), NaN without videos.
        confusion: Of each contender the share of each class's videos that are called what, averaged
            over the runs, (M, K, K), true class first, 0 without videos.
    """

    accuracy: list[dict[str, Estimate]]
    log_loss: list[Estimate]
    calibration: list[Calibration]
    against_first: list[Paired]
    per_class: Floats
    confusion: Floats


def compare(contest: Contest) -> Comparison:
    """Compare the models of a contest.

    Args:
        contest: Scores of all models.
    """
    labels, groups = contest.labels, Groups.of(contest.groups)
    num_classes = len(contest.class_names)
    models = [_Model.of(c.scores, labels, num_classes, groups) for c in contest.contenders]
    pairs = [_pair(model, models[0], labels, groups, num_classes) for model in models[1:]]
    losses = [
        mean_over_videos(np.stack([log_loss(run, labels) for run in c.scores], axis=1))
        for c in contest.contenders
    ]
    nats = [mean_interval(components(loss, groups)) for loss in losses]
    return Comparison(
        accuracy=[
            {
                name: share_interval(components(m, groups), groups)
                for name, m in model.metrics.items()
            }
            for model in models
        ],
        log_loss=[replace(loss, low=max(0.0, loss.low)) for loss in nats],
        calibration=[calibrate(c.scores, labels) for c in contest.contenders],
        against_first=_adjusted(pairs),
        per_class=np.stack([_per_class(m.right.mean(axis=1), labels, num_classes) for m in models]),
        confusion=np.stack([_confusion(model.guesses, labels, num_classes) for model in models]),
    )


@dataclass(frozen=True)
class _Model:
    """A contender's runs.

    Attributes:
        guesses: Highest class of each video and run, (N, S).
        right: 1 where that is the video's, (N, S).
        metrics: Each metric of the runs.
    """

    guesses: NDArray[np.intp]
    right: Floats
    metrics: dict[str, Measured]

    @classmethod
    def of(
        cls, scores: Sequence[Floats], labels: Integers, num_classes: int, groups: Groups
    ) -> "_Model":
        guesses = np.stack([run.argmax(axis=1) for run in scores], axis=1)
        right = (guesses == labels[:, None]).astype(np.float64)
        metrics = {"top1": mean_over_videos(right)}
        if num_classes > 5:
            among = np.stack([_among_first_five(run, labels) for run in scores], axis=1)
            metrics["top5"] = mean_over_videos(among)
        metrics["mean_class"] = mean_over_classes(right, labels, groups)
        return cls(guesses, right, metrics)


def _among_first_five(scores: Floats, labels: Integers) -> Floats:
    """Find the videos whose class is among the five highest, (N,); ties as argmax has them."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < labels[:, None]))
    return np.asarray(before.sum(axis=1) < 5, dtype=np.float64)


def _per_class(right: Floats, labels: Integers, num_classes: int) -> Floats:
    """Compute the accuracy of each class, (K,), NaN without videos."""
    totals = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=right, minlength=num_classes)
    return np.where(totals > 0, sums / np.maximum(totals, 1), np.nan)


def _confusion(guesses: NDArray[np.intp], labels: Integers, num_classes: int) -> Floats:
    """Compute the confusion matrix as shares of each row, (K, K), 0 without videos."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (np.repeat(labels, guesses.shape[1]), guesses.ravel()), 1)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _pair(
    model: _Model, first: _Model, labels: Integers, groups: Groups, num_classes: int
) -> Paired:
    gains = {
        name: gain_of(measured, first.metrics[name], groups)
        for name, measured in model.metrics.items()
    }
    runs = list(itertools.product(range(first.right.shape[1]), range(model.right.shape[1])))
    only_first = [int((first.right[:, a] > model.right[:, b]).sum()) for a, b in runs]
    only_other = [int((first.right[:, a] < model.right[:, b]).sum()) for a, b in runs]
    same = [(first.guesses[:, a] == model.guesses[:, b]).mean() for a, b in runs]
    lone = len(runs) == 1 and len(groups.sizes) == groups.videos
    exact = mcnemar_p(only_first[0], only_other[0]) if lone else None
    tests = PValues(gains["top1"].runs_p, gains["top1"].methods_p, exact)
    classes = _class_gains(model, first, labels, groups, num_classes)
    return Paired(
        gains=gains,
        tests=tests,
        adjusted=tests,
        classes=classes,
        class_p=_class_p(classes),
        only_first=float(np.mean(only_first)),
        only_other=float(np.mean(only_other)),
        agreement=float(np.mean(same)),
    )


def _class_gains(
    model: _Model, first: _Model, labels: Integers, groups: Groups, num_classes: int
) -> list[Gain | None]:
    """Compare two models within each class."""
    found: list[Gain | None] = [None] * num_classes
    order = np.argsort(labels, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        own = Groups.of(groups.index[rows])
        other, one = mean_over_videos(model.right[rows]), mean_over_videos(first.right[rows])
        found[int(labels[rows[0]])] = gain_of(other, one, own)
    return found


def _class_p(classes: Sequence[Gain | None]) -> Floats:
    """Adjust the classes' p-values for how many they are, (K,)."""
    tested = [k for k, gain in enumerate(classes) if gain is not None]
    values = [_strictest(gain) for gain in classes if gain is not None]
    found = np.full(len(classes), np.nan)
    found[tested] = benjamini_hochberg(values)
    return found


def _strictest(gain: Gain) -> float:
    return gain.runs_p if gain.methods_p is None else gain.methods_p


def _adjusted(pairs: Sequence[Paired]) -> list[Paired]:
    """Adjust the models' p-values for how many they are, each kind of test by itself."""
    columns = []
    for kind in ("runs", "methods", "mcnemar"):
        values = [getattr(pair.tests, kind) for pair in pairs]
        known = iter(holm([value for value in values if value is not None]))
        columns.append([None if value is None else next(known) for value in values])
    tests = [PValues(*row) for row in zip(*columns, strict=True)]
    return [replace(pair, adjusted=row) for pair, row in zip(pairs, tests, strict=True)]
