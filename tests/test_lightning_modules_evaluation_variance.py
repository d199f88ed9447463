"""The parts of a variance: groups of videos, runs, and what must not be counted twice."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score

from lightning_modules.evaluation.variance import (
    Groups,
    components,
    difference,
    mean_over_classes,
    mean_over_videos,
)

Array = NDArray[Any]


def own_groups(videos: int) -> Groups:
    return Groups.of(np.arange(videos))


def test_group_variance_is_that_of_a_bootstrap_worked_by_hand() -> None:
    right, names = np.array([1.0, 1, 0, 1, 0, 0]), np.array([7, 7, 2, 2, 9, 9])
    # sums of deviations from 1/2 in the groups: 1, 0, -1; (1 + 0 + 1) / 6**2, and 3 / 2 of that
    parts = components(mean_over_videos(right[:, None]), Groups.of(names))
    assert parts.videos == pytest.approx(2 / 36 * 3 / 2)
    # every way of drawing three groups of three; their variance is a third too small
    groups = [right[names == name] for name in (7, 2, 9)]
    draws = [np.concatenate(drawn).mean() for drawn in itertools.product(groups, repeat=3)]
    assert parts.videos == pytest.approx(np.var(draws) * 3 / 2)
    assert parts.videos_freedom == pytest.approx(2)
    # as if the six were independent it would be smaller
    alone = components(mean_over_videos(right[:, None]), own_groups(6))
    assert alone.videos == pytest.approx(right.var(ddof=1) / 6)
    assert alone.videos < parts.videos


def test_one_large_group_leaves_little_freedom() -> None:
    even = Groups.of(np.repeat(np.arange(40), 5))
    assert even.freedom(1.0) == pytest.approx(39)
    uneven = Groups.of(np.r_[np.zeros(100, int), np.arange(1, 101)])
    # 1 / (1/4 + 100 / 200**2) - 1 groups count where videos are independent, fewer where not
    assert uneven.freedom(1.0) == pytest.approx(1 / (0.25 + 100 / 200**2) - 1)
    assert uneven.freedom(30.0) < 0.5 * uneven.freedom(1.0)
    assert uneven.freedom(200.0) == 1


def test_parts_are_those_of_a_table_of_videos_and_runs() -> None:
    """The classical analysis of variance of a table, in loops."""
    rng = np.random.default_rng(0)
    videos, runs = 60, 4
    values = rng.normal(size=(videos, runs)) + rng.normal(size=(videos, 1)) + np.arange(runs)
    grand, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    between_runs = videos * sum((m - grand) ** 2 for m in columns) / (runs - 1)
    left = sum(
        (values[v, s] - rows[v] - columns[s] + grand) ** 2
        for v in range(videos)
        for s in range(runs)
    ) / ((videos - 1) * (runs - 1))
    parts = components(mean_over_videos(values), own_groups(videos))
    assert parts.value == pytest.approx(grand)
    assert parts.videos == pytest.approx(np.var(rows, ddof=1) / videos)
    assert parts.runs == pytest.approx((between_runs - left) / (videos * runs))
    assert parts.runs_freedom == pytest.approx(runs - 1)


def test_videos_noise_is_not_taken_for_runs() -> None:
    """Seeds that differ by the videos' noise alone add next to nothing, on average."""
    rng = np.random.default_rng(1)
    added = []
    for _ in range(300):
        right = (rng.random((400, 3)) < 0.7).astype(float)
        parts = components(mean_over_videos(right), own_groups(400))
        added.append(parts.runs / parts.videos)
    # of a chi-square of 2, the part above its mean: 1 / e
    assert np.mean(added) == pytest.approx(np.exp(-1), abs=0.15)
    assert np.median(added) == 0


def test_difference_is_taken_video_by_video() -> None:
    rng = np.random.default_rng(2)
    shared = rng.random((500, 1))
    first, other = ((shared < share).astype(float) for share in (0.6, 0.7))
    groups = own_groups(500)
    parts = difference(mean_over_videos(other), mean_over_videos(first), groups)
    assert parts.value == pytest.approx((other - first).mean())
    assert parts.videos == pytest.approx((other - first).var(ddof=1) / 500)
    assert parts.runs_freedom == 0  # nothing is known of runs
    two = mean_over_videos(np.concatenate([first, other], axis=1))
    assert difference(two, mean_over_videos(first), groups).runs_freedom == 0
    # of one model's runs alone, those of the other being equal: its own freedom
    same = mean_over_videos(np.repeat(first, 3, axis=1))
    assert difference(two, same, groups).runs_freedom == pytest.approx(1)


def test_mean_over_classes_counts_each_class_once() -> None:
    rng = np.random.default_rng(3)
    labels = np.r_[np.zeros(300, int), np.ones(30, int), np.full(10, 4)]
    guesses = np.where(rng.random(340) < 0.6, labels, 2)
    right = (guesses == labels).astype(float)[:, None]
    found = mean_over_classes(right, labels, own_groups(340))
    with pytest.warns(UserWarning, match="y_pred contains classes"):
        assert found.values[0] == pytest.approx(balanced_accuracy_score(labels, guesses))
    # the variance of a stratified mean: of each class its own, divided by its videos
    by_class = [right[labels == k, 0] for k in (0, 1, 4)]
    expected = sum(part.var(ddof=1) / len(part) for part in by_class) / 9
    assert components(found, own_groups(340)).videos == pytest.approx(expected, rel=0.01)


def test_class_of_one_group_is_not_certain() -> None:
    right = np.r_[np.zeros(50), np.ones(50)][:, None]
    labels = np.repeat([0, 1], 50)
    lone = mean_over_classes(right, labels, Groups.of(labels))
    assert components(lone, Groups.of(labels)).videos > 0.1
