"""Variance of a measure in its two parts: which videos were filmed, and which runs were trained.

N videos in G groups (scenes, source videos, persons), K classes, S runs (seeds) of a model, each
tested on the same videos. Videos of one group resemble each other, so groups, not videos, are taken
to be independent (Cameron and Miller, A Practitioner's Guide to Cluster-Robust Inference, 2015).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lightning_modules.evaluation.score_files import Floats, Integers


@dataclass(frozen=True)
class Groups:
    """The groups of videos that are taken to be independent of each other.

    Attributes:
        index: Group of each video, 0 to G - 1, (N,).
    """

    index: Integers

    @classmethod
    def of(cls, names: Integers) -> "Groups":
        """Number the groups of videos without gaps.

        Args:
            names: A number for each video, equal within a group, (N,).
        """
        return cls(np.unique(names, return_inverse=True)[1])

    @cached_property
    def sizes(self) -> Integers:
        """Videos of each group, (G,)."""
        return np.bincount(self.index)

    @property
    def videos(self) -> int:
        """Number of videos, N."""
        return len(self.index)

    def sums(self, values: Floats) -> Floats:
        """Add up values over the videos of each group, (N, S) to (G, S)."""
        if len(self.sizes) == self.videos:
            return values
        columns = [np.bincount(self.index, column, len(self.sizes)) for column in values.T]
        return np.stack(columns, axis=1)

    def variance(self, influence: Floats) -> Floats:
        """Compute the cluster-robust variance of sums over the videos, (N, S) to (S,).

        Args:
            influence: What each video adds to a measure beyond its mean.

        Returns:
            Variances; without end where there is one group.
        """
        count = len(self.sizes)
        if count == 1:
            return np.full(influence.shape[1], np.inf)
        return np.asarray((self.sums(influence) ** 2).sum(axis=0) * count / (count - 1))

    def freedom(self, design_effect: float) -> float:
        """Compute the degrees of freedom of `variance`: the groups that count, less one.

        A group of n videos weighs n (1 + (n - 1) r), where r is the correlation within groups that
        explains the design effect; equal weights make G groups count, one dominant weight makes one
        (Satterthwaite 1946; Carter, Schnepel and Steigerwald 2017).

        Args:
            design_effect: Variance of the measure over what it was if all videos were independent.
        """
        typical = float((self.sizes**2).sum()) / self.videos
        alike = min(1.0, max(0.0, (design_effect - 1) / (typical - 1))) if typical > 1 else 0.0
        weights = self.sizes * (1 + (self.sizes - 1) * alike)
        return max(1.0, float(weights.sum() ** 2 / (weights**2).sum()) - 1)


@dataclass(frozen=True)
class Measured:
    """A measure of each run of a model, and what each video adds to it.

    Attributes:
        values: Of each run, (S,).
        influence: Of each video and run, (N, S); each column sums to 0, or nearly.
    """

    values: Floats
    influence: Floats


def mean_over_videos(values: Floats) -> Measured:
    """Measure the mean over the videos.

    Args:
        values: Of each video and run, such as 1 where it is right, (N, S).
    """
    means = values.mean(axis=0)
    return Measured(means, (values - means) / len(values))


def mean_over_classes(values: Floats, labels: Integers, groups: Groups) -> Measured:
    """Measure the mean over the classes that have videos of the mean over their videos.

    Deviations are taken from the class's own mean and stretched by sqrt(g / (g - 1)), with g groups
    in the class; in a class of one group, from the mean over the classes.

    Args:
        values: Of each video and run, (N, S).
        labels: Class of each video, (N,).
        groups: Groups of the videos.
    """
    present, own = np.unique(labels, return_inverse=True)
    totals = np.bincount(own)
    sums = np.stack([np.bincount(own, column) for column in values.T], axis=1)
    means = sums / totals[:, None]  # (K present, S)
    value = means.mean(axis=0)
    pairs = np.unique(np.stack([own, groups.index]), axis=1)
    count = np.bincount(pairs[0])[:, None]
    centre = np.where(count > 1, means, value)
    stretch = np.sqrt(np.where(count > 1, count / np.maximum(count - 1, 1), 1.0))
    weights = stretch / (len(present) * totals[:, None])
    influence = (values - centre[own]) * weights[own]
    return Measured(value, influence)


@dataclass(frozen=True)
class Components:
    """A mean over runs, and its variance in parts.

    Attributes:
        value: The mean, or the difference of two means.
        videos: Variance by the choice of videos, for these very runs.
        videos_freedom: Degrees of freedom of that estimate.
        runs: Variance that the runs' own differences add; 0 where none was found.
        runs_freedom: Degrees of freedom of that estimate; 0 where one run stands for a model, so
            that nothing is known about it.
    """

    value: float
    videos: float
    videos_freedom: float
    runs: float
    runs_freedom: float

    def without_runs(self) -> "Components":
        """Leave out what the runs add: these very runs on other videos."""
        return Components(self.value, self.videos, self.videos_freedom, 0.0, 0.0)


def components(measured: Measured, groups: Groups) -> Components:
    """Estimate the parts of the variance of a model's mean over its runs.

    Args:
        measured: A measure of its runs.
        groups: Groups of the videos.
    """
    value = float(measured.values.mean())
    return _components(value, measured.influence.mean(axis=1), [measured], groups)


def difference(measured: Measured, first: Measured, groups: Groups) -> Components:
    """Estimate the parts of the variance of one model's mean less another's, video by video.

    Args:
        measured: A measure of the one model's runs.
        first: The same of the other's.
        groups: Groups of the videos.
    """
    value = float(measured.values.mean() - first.values.mean())
    influence = measured.influence.mean(axis=1) - first.influence.mean(axis=1)
    return _components(value, influence, [measured, first], groups)


def _components(
    value: float, influence: Floats, models: Sequence[Measured], groups: Groups
) -> Components:
    """Split the variance of a mean or of a difference of means.

    Means of runs differ by the runs themselves and by each run's own luck with the videos. The
    second part is in the variance over videos already, so it is taken off here.
    """
    videos = float(groups.variance(influence[:, None])[0])
    alone = float((influence**2).sum()) * groups.videos / max(1, groups.videos - 1)
    freedom = groups.freedom(videos / alone if alone > 0 else 1.0)
    runs = [len(model.values) for model in models]
    if min(runs) == 1:
        return Components(value, videos, freedom, 0.0, 0.0)
    found = [float(model.values.var(ddof=1)) / len(model.values) for model in models]
    luck = [_luck(model, groups) / len(model.values) for model in models]
    added = max(0.0, sum(found) - sum(luck))
    # Welch 1947, Satterthwaite 1946: the freedom of a sum of variances
    spread = sum(part**2 / (count - 1) for part, count in zip(found, runs, strict=True))
    runs_freedom = sum(found) ** 2 / spread if spread > 0 else float(sum(runs) - len(runs))
    return Components(value, videos, freedom, added, runs_freedom)


def _luck(model: Measured, groups: Groups) -> float:
    """Estimate the variance of one run's mean by its own luck with the videos."""
    own = model.influence - model.influence.mean(axis=1, keepdims=True)
    return float(groups.variance(own).sum()) / (len(model.values) - 1)
