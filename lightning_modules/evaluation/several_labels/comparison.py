"""Models on the same videos with several classes: results with intervals, and paired gains.

Accuracies of columns are shares of the videos that have a class of the column. Mean average
precision is no mean over videos, but what each video adds to it is known: its derivative by how
often the video counts (the infinitesimal jackknife; Efron, The Jackknife, the Bootstrap and Other
Resampling Plans, 1982). So both have variances over videos, groups and runs in the one way of
`variance`. Resampled videos would not do: a positive video that is drawn twice stands beside its
copy in the ranking, which makes average precision too high in nearly every draw.

N videos, K classes, S runs of a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_modules.evaluation.intervals import Estimate, Gain, gain_of, share_interval
from lightning_modules.evaluation.score_files import Contender, Contest, Floats, Integers
from lightning_modules.evaluation.several_labels.figures import column_hits, labelled_videos
from lightning_modules.evaluation.variance import Groups, Measured, components, mean_over_videos
from lightning_modules.labels.several_labels import average_precisions

__all__ = ["SeveralComparison", "class_results", "compare_several", "mean_average_precision"]


@dataclass(frozen=True)
class SeveralComparison:
    """Results of a contest.

    Attributes:
        results: Of each contender by name: `mAP`, or the accuracy of each column and of `action`.
        gains: Of each contender but the first, over the first.
    """

    results: list[dict[str, Estimate]]
    gains: list[dict[str, Gain]]


def compare_several(contest: Contest) -> SeveralComparison:
    """Compare models on videos with several classes.

    Args:
        contest: Scores of all models.
    """
    rows = _rows_by_name(contest)
    groups = {name: Groups.of(contest.groups[own]) for name, own in rows.items()}
    models = [_measured(contest, contender, rows) for contender in contest.contenders]
    results = [
        {k: share_interval(components(found, groups[k]), groups[k]) for k, found in model.items()}
        for model in models
    ]
    gains = [
        {name: gain_of(found, models[0][name], groups[name]) for name, found in model.items()}
        for model in models[1:]
    ]
    return SeveralComparison(results, gains)


def _rows_by_name(contest: Contest) -> dict[str, Integers]:
    """List the videos that count for each result."""
    if contest.form.kind == "multi":
        return {"mAP": labelled_videos(contest.form, contest.labels)}
    scores = contest.contenders[0].scores[0]
    hits = column_hits(contest.form, contest.class_names, contest.labels, scores)
    found = {name: np.flatnonzero(~np.isnan(values)) for name, values in hits.items()}
    return {name: rows for name, rows in found.items() if len(rows)}


def _measured(
    contest: Contest, contender: Contender, rows: dict[str, Integers]
) -> dict[str, Measured]:
    """Measure the results of a model's runs, over the videos that count for each."""
    form, marks = contest.form, contest.labels
    if form.kind == "multi":
        own = rows["mAP"]
        scores = [run[own] for run in contender.scores]
        return {"mAP": mean_average_precision(scores, marks[own])}
    hits = [column_hits(form, contest.class_names, marks, run) for run in contender.scores]
    return {
        name: mean_over_videos(np.stack([run[name][own] for run in hits], axis=1))
        for name, own in rows.items()
    }


def mean_average_precision(runs: Sequence[Floats], marks: Integers) -> Measured:
    """Measure mean average precision, over the classes that have videos.

    Args:
        runs: Scores of each run, (N, K) each.
        marks: Marks of the classes, (N, K).
    """
    present = np.flatnonzero(marks.any(axis=0))
    values, influence = np.zeros(len(runs)), np.zeros((len(marks), len(runs)))
    for number, scores in enumerate(runs):
        for label in present:
            value, added = _precision(scores[:, label], marks[:, label] > 0)
            values[number] += value / len(present)
            influence[:, number] += added / len(present)
    return Measured(values, influence)


def _precision(scores: Floats, marked: NDArray[np.bool_]) -> tuple[float, Floats]:
    """Compute the average precision of a class, and its derivative by the weight of each video.

    With t = 1 for its P videos, C(i) the videos that score at least as high as video i and R(i) its
    own among them, it is the sum of t R / C over P. A video more counts as one of the P, and in C
    and R of all that score at most as high.

    Returns:
        The precision, and the derivatives, (N,), which sum to 0.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], marked[order].astype(np.float64)
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    sizes = np.diff(np.append(starts, len(ranked)))
    ends = np.repeat(starts + sizes - 1, sizes)  # the last one of equal scores
    among, above = np.cumsum(right)[ends], ends + 1.0
    count = right.sum()
    value = float((right * among / above).sum() / count)
    from_here = np.repeat(starts, sizes)  # all that score at most as high
    later = np.cumsum((right / above)[::-1])[::-1][from_here]
    pushed = np.cumsum((right * among / above**2)[::-1])[::-1][from_here]
    added = np.empty(len(scores))
    added[order] = (right * (among / above + later - value) - pushed) / count
    return value, added


def class_results(contest: Contest, contender: Contender) -> Floats:
    """Compute the average precision, or the accuracy, of each class, averaged over runs, (K,)."""
    rows = labelled_videos(contest.form, contest.labels)
    marks = contest.labels[rows]
    runs = [scores[rows] for scores in contender.scores]
    if contest.form.kind == "multi":
        return np.asarray(np.mean([average_precisions(run, marks) for run in runs], axis=0))
    found = np.full((len(runs), marks.shape[1]), np.nan)
    groups = contest.form.groups(contest.class_names)
    for number, run in enumerate(runs):
        hits = column_hits(contest.form, contest.class_names, marks, run)
        for column, labels in groups.items():
            for label in labels:
                own = hits[column][marks[:, label] > 0]
                found[number, label] = own.mean() if own.size else np.nan
    return np.asarray(found.mean(axis=0))
