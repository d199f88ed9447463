"""Intervals and tests against exact answers and simulated studies."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lightning_modules.evaluation.intervals import (
    gain_of,
    mcnemar_p,
    p_value,
    share_interval,
    squared_half_width,
)
from lightning_modules.evaluation.variance import (
    Components,
    Groups,
    components,
    mean_over_videos,
)

Array = NDArray[Any]


def interval(right: Array, names: Array | None = None) -> tuple[float, float]:
    groups = Groups.of(np.arange(len(right)) if names is None else names)
    columns = right[:, None] if right.ndim == 1 else right
    found = share_interval(components(mean_over_videos(columns.astype(float)), groups), groups)
    return found.low, found.high


def right_ones(count: int, videos: int) -> Array:
    return np.arange(videos) < count


@pytest.mark.parametrize("count", [5, 200, 500, 990, 1000])
def test_interval_of_independent_videos_is_wilsons(count: int) -> None:
    exact = stats.binomtest(count, 1000).proportion_ci(method="wilson")
    assert interval(right_ones(count, 1000)) == pytest.approx((exact.low, exact.high), abs=2e-4)


def test_interval_does_not_collapse_where_all_are_right() -> None:
    low, high = interval(right_ones(400, 400))
    assert high == 1
    assert low == pytest.approx(0.990, abs=0.001)
    # clips of 20 scenes are no more than 20
    grouped, _ = interval(right_ones(400, 400), np.repeat(np.arange(20), 20))
    assert grouped == pytest.approx(
        stats.binomtest(20, 20).proportion_ci(method="wilson").low, abs=0.02
    )
    assert interval(right_ones(0, 400)) == pytest.approx((0, 1 - low))
    # one scene tells nothing of others
    assert interval(right_ones(300, 400), np.zeros(400, int)) == (0, 1)


@pytest.mark.parametrize("accuracy", [0.99, 0.95, 0.7])
def test_interval_of_100_videos_holds_the_truth_often_enough(accuracy: float) -> None:
    held = [low <= accuracy <= high for low, high in map(interval, _all_counts(100))]
    weights = stats.binom.pmf(np.arange(101), 100, accuracy)
    assert weights[held].sum() > (0.91 if accuracy == 0.99 else 0.93)


def _all_counts(videos: int) -> list[Array]:
    return [right_ones(count, videos) for count in range(videos + 1)]


def test_interval_of_scenes_holds_the_truth_where_that_of_clips_does_not() -> None:
    """Correlation of being right within a scene of 6 clips: 0.35."""
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(100), 6)
    a = 0.7 / 0.35 - 0.7  # beta-binomial: correlation 1 / (a + b + 1), mean a / (a + b) = 0.7
    held, naive = 0, 0
    for _ in range(400):
        shares = rng.beta(a, a * 3 / 7, size=100)
        right = rng.random(600) < shares[names]
        low, high = interval(right, names)
        held += low <= 0.7 <= high
        low, high = interval(right)
        naive += low <= 0.7 <= high
    assert 0.925 < held / 400 < 0.975
    assert naive / 400 < 0.85


def draw(rng: np.random.Generator, gain: float, runs: int, spread: float = 0.0) -> list[Array]:
    """Which of 1,000 videos the runs of two models have right; videos are hard for both."""
    hard = np.sqrt(0.5) * rng.normal(size=(1000, 1))
    found = []
    for share in (0.7, 0.7 + gain):
        own = np.sqrt(0.5) * rng.normal(size=(1000, runs)) + spread * rng.normal(size=runs)
        found.append((hard + own + stats.norm.ppf(share) > 0).astype(float))
    return found


def p_values(first: Array, other: Array) -> tuple[float, float]:
    """P of the methods (of the runs, where there is one), and of these very runs."""
    groups = Groups.of(np.arange(len(first)))
    gain = gain_of(mean_over_videos(other), mean_over_videos(first), groups)
    return gain.runs_p if gain.methods_p is None else gain.methods_p, gain.runs_p


def test_three_seeds_find_more_than_one() -> None:
    """A true gain of 2.26 points; the best simple test compares the seeds' mean, video by video."""
    rng = np.random.default_rng(1)
    one = [p_values(*draw(rng, 0.0226, runs=1)) for _ in range(200)]
    three, simple = [], []
    for _ in range(200):
        first, other = draw(rng, 0.0226, runs=3)
        three.append(p_values(first, other))
        simple.append(stats.ttest_rel(first.mean(axis=1), other.mean(axis=1)).pvalue)
    power_of_one = np.mean([p < 0.05 for _, p in one])
    of_methods, of_runs = np.mean(np.array(three) < 0.05, axis=0)
    best = np.mean(np.array(simple) < 0.05)
    assert of_methods > power_of_one + 0.1
    assert of_runs == pytest.approx(best, abs=0.02)
    assert of_methods > 0.7 * best


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.06])
def test_equal_methods_of_three_seeds_are_told_apart_as_often_as_stated(spread: float) -> None:
    """Runs scatter by 0, 0.7 and 2.1 points."""
    rng = np.random.default_rng(2)
    found = np.array([p_values(*draw(rng, 0.0, runs=3, spread=spread)) for _ in range(300)])
    assert 0.015 < (found[:, 0] < 0.05).mean() < 0.08


def test_one_run_cannot_know_how_methods_differ() -> None:
    rng = np.random.default_rng(3)
    groups = Groups.of(np.arange(1000))
    first, other = draw(rng, 0.05, runs=3)
    for a, b in ((first[:, :1], other), (first, other[:, :1]), (first[:, :1], other[:, :1])):
        gain = gain_of(mean_over_videos(b), mean_over_videos(a), groups)
        assert gain.methods_p is None
        assert not gain.estimate.runs
    gain = gain_of(mean_over_videos(other), mean_over_videos(first), groups)
    assert gain.methods_p is not None
    assert gain.estimate.runs


def test_gain_is_not_certain_where_models_never_differ() -> None:
    right = mean_over_videos(np.ones((400, 1)))
    gain = gain_of(right, right, Groups.of(np.arange(400)))
    assert gain.estimate.value == 0
    assert -0.01 < gain.estimate.low < -0.001
    assert 0.001 < gain.estimate.high < 0.01
    assert gain.runs_p == 1


def test_p_is_the_other_side_of_the_interval() -> None:
    rng = np.random.default_rng(4)
    for _ in range(100):
        parts = Components(
            value=float(rng.normal()),
            videos=float(rng.exponential()),
            videos_freedom=float(rng.uniform(3, 200)),
            runs=float(rng.exponential() * rng.integers(2)),
            runs_freedom=float(rng.uniform(1, 8)),
        )
        p = p_value(parts)
        assert squared_half_width(parts, p) == pytest.approx(parts.value**2)
        assert (p < 0.05) == (squared_half_width(parts) < parts.value**2)
    alone = parts.without_runs()
    expected = 2 * stats.t.sf(abs(alone.value) / np.sqrt(alone.videos), alone.videos_freedom)
    assert p_value(alone) == pytest.approx(expected)


def test_mcnemar_is_the_binomial_tail() -> None:
    # 2 * (1 + 10 + 45) / 2**10, by hand
    assert mcnemar_p(2, 8) == pytest.approx(112 / 1024)
    assert mcnemar_p(8, 2) == mcnemar_p(2, 8)
    assert mcnemar_p(5, 5) == 1.0
    assert mcnemar_p(0, 0) == 1.0
    assert mcnemar_p(2000, 2200) == pytest.approx(2 * stats.binom.cdf(2000, 4200, 0.5))
