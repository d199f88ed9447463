"""Calibration: how often a network is right where it says that it is sure.

N videos, K classes, S runs of a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_modules.evaluation.score_files import Floats, Integers

BINS = 15
"""Bins of equal width of the highest probability, from 0 to 1; each holds its upper end."""

LEAST = float(np.finfo(np.float64).eps)
"""A smaller probability of the true class counts as this in the log-likelihood."""


@dataclass(frozen=True)
class Calibration:
    """Agreement of a model's probabilities with how often it is right.

    Attributes:
        error: Expected calibration error: the distance between confidence, the highest probability,
            and accuracy in each bin, weighted by the bin's videos; averaged over the runs. Source:
            Guo et al., On Calibration of Modern Neural Networks, 2017, equation 3.
        confidence: Mean of each bin over the videos of all runs, (15,), NaN without videos.
        accuracy: Likewise.
        share: Share of the videos in each bin, (15,).
    """

    error: float
    confidence: Floats
    accuracy: Floats
    share: Floats


def calibrate(scores: Sequence[Floats], labels: Integers) -> Calibration:
    """Compute the calibration of a model.

    Args:
        scores: Probabilities of each video for each run, S times (N, K).
        labels: The true classes, (N,).
    """
    tables = np.stack([_bins(run, labels) for run in scores])  # (S, 3, 15)
    error = float((np.abs(tables[:, 1] - tables[:, 2]).sum(axis=1) / len(labels)).mean())
    count, confidence, right = tables.sum(axis=0)
    held = np.where(count > 0, count, np.nan)
    return Calibration(error, confidence / held, right / held, count / count.sum())


def _bins(scores: Floats, labels: Integers) -> Floats:
    """Add up the videos, their confidence and how many are right in each bin, (3, 15)."""
    highest = scores.max(axis=1)
    own = np.clip(np.ceil(highest * BINS).astype(np.int64) - 1, 0, BINS - 1)
    right = (scores.argmax(axis=1) == labels).astype(np.float64)
    return np.stack([np.bincount(own, weights, BINS) for weights in (None, highest, right)])


def log_loss(scores: Floats, labels: Integers) -> Floats:
    """Compute the negative log-likelihood of each video's class, in nats, (N,)."""
    return np.asarray(-np.log(np.maximum(scores[np.arange(len(labels)), labels], LEAST)))
