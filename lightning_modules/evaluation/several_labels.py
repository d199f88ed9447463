"""Results of stored scores where videos have several classes.

N videos, K classes.
"""

import numpy as np

from lightning_modules.evaluation.stored_scores import Floats, Integers, StoredScores
from lightning_modules.training.several_labels import average_precisions

__all__ = ["column_hits", "figures_of_scores", "labelled_videos"]


def labelled_videos(stored: StoredScores) -> Integers:
    """List the videos that count: all, or those with a class where nobody named those of others."""
    if stored.form.unlabelled == "left_out":
        return np.flatnonzero(stored.labels.any(axis=1))
    return np.arange(len(stored.labels))


def column_hits(stored: StoredScores) -> dict[str, Floats]:
    """Tell of each video whether the likeliest class of each column is its own.

    Returns:
        By column, then of all columns together as `action`: 1 or 0, NaN where a video has no class
        of the column, (N,) each.
    """
    hits: dict[str, Floats] = {}
    for column, labels in stored.form.groups(stored.class_names).items():
        marks, guesses = stored.labels[:, labels] > 0, stored.scores[:, labels].argmax(axis=1)
        right = marks[np.arange(len(marks)), guesses].astype(np.float64)
        hits[column] = np.where(marks.any(axis=1), right, np.nan)
    return {**hits, "action": np.stack(list(hits.values())).min(axis=0)}


def figures_of_scores(stored: StoredScores) -> dict[str, float]:
    """Compute the results of a test: `mAP`, or the accuracy of each column and of `action`."""
    if stored.form.kind == "multi":
        rows = labelled_videos(stored)
        precisions = average_precisions(stored.scores[rows], stored.labels[rows])
        return {"mAP": _mean(precisions)}
    return {name: _mean(values) for name, values in column_hits(stored).items()}


def _mean(values: Floats) -> float:
    """Average what is no NaN; NaN where nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
