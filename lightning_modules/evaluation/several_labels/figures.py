"""Results of stored scores where videos have several classes.

N videos, K classes.
"""

from collections.abc import Sequence

import numpy as np

from datamodules.annotations.label_form import LabelForm
from lightning_modules.evaluation.stored_scores import Floats, Integers, StoredScores
from lightning_modules.labels.several_labels import average_precisions

__all__ = ["column_hits", "figures_of_scores", "labelled_videos"]


def labelled_videos(form: LabelForm, marks: Integers) -> Integers:
    """List the videos that count: all, or those with a class where nobody named those of others.

    Args:
        form: What a label is.
        marks: Marks of the classes, (N, K).
    """
    if form.unlabelled == "left_out":
        return np.flatnonzero(marks.any(axis=1))
    return np.arange(len(marks))


def column_hits(
    form: LabelForm, class_names: Sequence[str], marks: Integers, scores: Floats
) -> dict[str, Floats]:
    """Tell of each video whether the likeliest class of each column is its own.

    Args:
        form: Labels in columns.
        class_names: Names of the K classes.
        marks: Marks of the classes, (N, K).
        scores: (N, K).

    Returns:
        By column, then of all columns together as `action`: 1 or 0, NaN where a video has no class
        of the column, (N,) each.
    """
    hits: dict[str, Floats] = {}
    for column, labels in form.groups(class_names).items():
        own, guesses = marks[:, labels] > 0, scores[:, labels].argmax(axis=1)
        right = own[np.arange(len(own)), guesses].astype(np.float64)
        hits[column] = np.where(own.any(axis=1), right, np.nan)
    return {**hits, "action": np.stack(list(hits.values())).min(axis=0)}


def figures_of_scores(stored: StoredScores) -> dict[str, float]:
    """Compute the results of a test: `mAP`, or the accuracy of each column and of `action`."""
    form, marks = stored.form, stored.labels
    if form.kind == "multi":
        rows = labelled_videos(form, marks)
        return {"mAP": _mean(average_precisions(stored.scores[rows], marks[rows]))}
    hits = column_hits(form, stored.class_names, marks, stored.scores)
    return {name: _mean(values) for name, values in hits.items()}


def _mean(values: Floats) -> float:
    """Average what is no NaN; NaN where nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
