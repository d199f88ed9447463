"""Intervals and gains of scores of several classes."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from label_lists import COLUMNS, MULTI
from scipy.stats import binomtest

from datamodules import LabelForm
from lightning_modules.evaluation.score_files import Contender, Contest
from lightning_modules.evaluation.several_labels.comparison import (
    compare_several,
    mean_average_precision,
)
from lightning_modules.evaluation.several_labels.figures import column_hits
from lightning_modules.labels.several_labels import (
    average_precisions,
)

MANY = LabelForm("multi")


def several_contest(kind: str, seed: int = 0, videos: int = 60, models: int = 2) -> Contest:
    """Models of which each is better than the one before, on videos in groups of three."""
    rng = np.random.default_rng(seed)
    names = MULTI if kind == "multi" else COLUMNS
    form = MANY if kind == "multi" else LabelForm("columns", ("verb", "way"))
    marks = (rng.random((videos, 10)) < 0.3).astype(np.int64)
    if kind == "columns":
        marks[:] = 0
        marks[np.arange(videos), rng.integers(4, size=videos)] = 1
        way = rng.random(videos) < 0.8
        marks[way, rng.integers(4, 10, size=way.sum())] = 1
    noise = rng.normal(size=(videos, 10))
    scores = [np.round(noise + (1 + model) * marks, 1) for model in range(models)]
    contenders = [Contender(f"m{i}", [run], {}, [run]) for i, run in enumerate(scores)]
    ids = [str(i) for i in range(videos)]
    return Contest(ids, marks, names, contenders, np.arange(videos) // 3, 0, form)


def test_what_a_video_adds_to_precision_is_the_derivative_by_its_weight() -> None:
    for seed in range(5):
        contest = several_contest("multi", seed)
        (scores,) = contest.contenders[0].scores
        found = mean_average_precision([scores], contest.labels)
        expected = np.nanmean(average_precisions(scores, contest.labels))
        assert found.values[0] == pytest.approx(expected, rel=1e-12)
        assert found.influence.sum() == pytest.approx(0, abs=1e-12)
        weight = 100  # each video a hundred times, and one of them once more
        for video in (0, 17, 59):
            rows = np.append(np.repeat(np.arange(60), weight), video)
            more = np.nanmean(average_precisions(scores[rows], contest.labels[rows]))
            step = (more - expected) * weight
            assert step == pytest.approx(found.influence[video, 0], rel=0.05, abs=1e-5)


@pytest.mark.parametrize("kind", ["multi", "columns"])
def test_better_model_gains_and_an_equal_one_does_not(kind: str) -> None:
    contest = several_contest(kind, models=3)
    same = replace(contest, contenders=[*contest.contenders, contest.contenders[0]])
    found = compare_several(same)
    for values in found.results:
        assert all(0 <= value.low < value.value < value.high <= 1 for value in values.values())
    for name, gain in found.gains[1].items():
        assert gain.estimate.low > 0, name
        assert gain.runs_p < 0.05
        expected = found.results[2][name].value - found.results[0][name].value
        assert gain.estimate.value == pytest.approx(expected)
    assert all((gain.estimate.value, gain.runs_p) == (0, 1) for gain in found.gains[2].values())


@pytest.mark.slow
def test_intervals_of_precision_hold_the_mean_over_datasets() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        marks = (rng.random((300, 20)) < 0.05).astype(np.int64)
        shared = rng.normal(size=(300, 20))
        runs = [shared + rng.normal(size=(300, 20)) + gain * marks for gain in (1.4, 1.9)]
        models = [Contender(str(i), [run], {}, [run]) for i, run in enumerate(runs)]
        ids, names = [str(i) for i in range(300)], [str(i) for i in range(20)]
        result = compare_several(Contest(ids, marks, names, models, np.arange(300), 0, MANY))
        values = (result.results[0]["mAP"], result.gains[0]["mAP"].estimate)
        found.append([[value.value, value.low, value.high] for value in values])
    value, low, high = np.array(found).transpose(2, 0, 1)
    truth = value.mean(axis=0)
    covered = ((low <= truth) & (truth <= high)).mean(axis=0)
    sys.stdout.write(f"mAP {100 * covered[0]:.1f} %, gain {100 * covered[1]:.1f} %\n")
    assert (covered > 0.9).all()


def test_columns_have_the_intervals_of_accuracies() -> None:
    contest = several_contest("columns", videos=90)
    contest = replace(contest, groups=np.arange(90))
    found = compare_several(contest).results[0]
    hits = column_hits(contest.form, COLUMNS, contest.labels, contest.contenders[0].scores[0])
    for name, values in hits.items():
        known = values[~np.isnan(values)]
        usual = binomtest(int(known.sum()), len(known)).proportion_ci(method="wilson")
        assert found[name].value == pytest.approx(known.mean())
        assert found[name].low == pytest.approx(usual.low, abs=0.01)
        assert found[name].high == pytest.approx(usual.high, abs=0.01)
