"""Intervals and tests from the parts of a variance.

The variances of videos and of runs add up. The quantile of Student's t is the mean of theirs, each
weighted with its variance (Cochran and Cox, Experimental Designs, 1957), so that a few runs make an
interval wide only where they differ.
"""

import math
from dataclasses import dataclass, replace

from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit
from scipy.stats import binomtest

from lightning_modules.evaluation.variance import Components, Groups, Measured, difference

LEVEL = 0.05
"""One less the share of intervals that hold the truth."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, as fractions.

    Attributes:
        value: Of the videos that were tested, averaged over the runs.
        low: Lower end.
        high: Upper end.
        runs: True if the interval holds how runs differ; False if it is for these very runs, as it
            has to be where one run stands for a model.
    """

    value: float
    low: float
    high: float
    runs: bool


def squared_half_width(parts: Components, level: float = LEVEL) -> float:
    """Compute the square of an interval's half-width, with 1 - level of confidence."""
    quantile = _quantile(parts.videos_freedom, level)
    if parts.runs == 0 or math.isinf(parts.videos):
        return quantile**2 * parts.videos
    weighted = quantile * parts.videos + _quantile(parts.runs_freedom, level) * parts.runs
    return weighted**2 / (parts.videos + parts.runs)


def share_interval(parts: Components, groups: Groups) -> Estimate:
    """Give a share, such as an accuracy, an interval that is right near 0 and 1 too.

    Wilson's interval (1927) for as many independent videos as would give this variance. Where all
    or no videos are right, each group counts as one.

    Args:
        parts: The share and the parts of its variance.
        groups: Groups of the videos.
    """
    value, runs = parts.value, parts.runs_freedom > 0
    apart = value * (1 - value)
    width = squared_half_width(parts)
    if math.isinf(width):
        return Estimate(value, 0.0, 1.0, runs)
    if apart > 0 and width > 0:
        ratio = width / apart
    else:
        ratio = _quantile(parts.videos_freedom, LEVEL) ** 2 / len(groups.sizes)
    middle = (value + ratio / 2) / (1 + ratio)
    half = math.sqrt(ratio * apart + ratio**2 / 4) / (1 + ratio)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Estimate(value, min(low, value), max(high, value), runs)


def mean_interval(parts: Components) -> Estimate:
    """Give a mean without bounds, such as a loss, an interval.

    Args:
        parts: The mean and the parts of its variance.
    """
    half = math.sqrt(squared_half_width(parts))
    low, high = parts.value - half, parts.value + half
    return Estimate(parts.value, low, high, parts.runs_freedom > 0)


@dataclass(frozen=True)
class Gain:
    """One model against another, over the same videos.

    Attributes:
        estimate: The difference of their shares, with an interval.
        runs_p: Two-sided p of no difference between these very runs, on videos like these.
        methods_p: The same between the methods, other runs of which would differ too; None where
            one run stands for a method, which cannot know.
    """

    estimate: Estimate
    runs_p: float
    methods_p: float | None


def gain_of(measured: Measured, first: Measured, groups: Groups) -> Gain:
    """Compare one model's runs with another's.

    Args:
        measured: A measure of the one model's runs.
        first: The same of the other's.
        groups: Groups of the videos.
    """
    found = difference(measured, first, groups)
    counts = (len(measured.values), len(first.values))
    parts = with_imagined_videos(found, groups, 2 / sum(1 / count for count in counts))
    half, known = math.sqrt(squared_half_width(parts)), min(counts) > 1
    low, high = max(-1.0, parts.value - half), min(1.0, parts.value + half)
    estimate = Estimate(found.value, min(low, found.value), max(high, found.value), known)
    return Gain(estimate, p_value(parts.without_runs()), p_value(parts) if known else None)


def p_value(parts: Components) -> float:
    """Compute the two-sided p of no difference: the level whose interval ends at zero.

    Args:
        parts: The difference and the parts of its variance.
    """
    square = parts.value**2
    if square == 0 or math.isinf(parts.videos):
        return 1.0
    if parts.runs == 0:
        return 2 * float(stdtr(parts.videos_freedom, -math.sqrt(square / parts.videos)))
    smallest = 1e-12
    if squared_half_width(parts, smallest) < square:
        return smallest
    return float(brentq(lambda p: squared_half_width(parts, p) - square, smallest, 1.0))


def with_imagined_videos(parts: Components, groups: Groups, runs: float) -> Components:
    """Add half an imagined video to each cell: both, only either, or neither model right in a run.

    So the interval does not shrink to a point where models never differ (Agresti and Min, Simple
    improved confidence intervals for comparing matched proportions, 2005).

    Args:
        parts: The difference and the parts of its variance.
        groups: Groups of the videos.
        runs: Runs of each model, the harmonic mean.
    """
    keep = groups.videos / (groups.videos + 2)
    videos = parts.videos * keep**2 + 1 / (runs * (groups.videos + 2) ** 2)
    return replace(parts, value=parts.value * keep, videos=videos, runs=parts.runs * keep**2)


def mcnemar_p(only_first: int, only_other: int) -> float:
    """McNemar's exact test: two-sided binomial p of the videos that one model alone has right.

    Args:
        only_first: Videos that the first alone has right.
        only_other: Videos that the other alone has right.
    """
    discordant = only_first + only_other
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def _quantile(freedom: float, level: float) -> float:
    """Find the quantile of Student's t that a share of level / 2 exceeds."""
    return float(stdtrit(freedom, 1 - level / 2))
