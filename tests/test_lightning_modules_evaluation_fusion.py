"""Late fusion: run by run, of probabilities or of logits, weights on groups never reported on."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightning_modules.evaluation.fusion import (
    fuse,
    fuse_external,
    runs_match,
    search_fusion,
    unit_rows,
)
from lightning_modules.evaluation.score_files import Contender, Contest

Array = NDArray[Any]
CLASSES = 6


def softmax(logits: Array) -> Array:
    shares = np.exp(logits)
    return shares / shares.sum(axis=-1, keepdims=True)


def contest_of(runs: tuple[int, ...], videos: int = 600, groups: Array | None = None) -> Contest:
    """Models whose runs are each right by themselves: an ensemble of them is better by far."""
    rng = np.random.default_rng(4)
    labels = rng.integers(CLASSES, size=videos)
    logits = [
        [1.5 * np.eye(CLASSES)[labels] + rng.normal(size=(videos, CLASSES)) for _ in range(count)]
        for count in runs
    ]
    contenders = [
        Contender(f"m{i}", [softmax(run) for run in model], {}, model)
        for i, model in enumerate(logits)
    ]
    ids = [f"v{i}" for i in range(videos)]
    names = list("abcdef")
    own = np.arange(videos) if groups is None else groups
    return Contest(ids, labels, names, contenders, own)


def top1(scores: Array, labels: Array) -> float:
    return float(np.mean(scores.argmax(axis=1) == labels))


@pytest.mark.parametrize("fused", ["probabilities", "logits"])
def test_runs_are_fused_one_by_one(fused: Any) -> None:
    contest = contest_of((3, 3))
    first, other = (c.scores if fused == "probabilities" else c.logits for c in contest.contenders)
    labels = contest.labels
    by_hand = [top1(0.75 * a + 0.25 * b, labels) for a, b in zip(first, other, strict=True)]
    found = fuse(contest, [3, 1], fused)
    assert found.weights == (0.75, 0.25)
    assert found.top1.value == pytest.approx(np.mean(by_hand))
    assert found.runs == 3
    assert found.top1.runs
    assert (found.videos, found.searched_on) == (600, 0)
    singles = [np.mean([top1(run, labels) for run in model]) for model in (first, other)]
    assert found.best_single == pytest.approx(max(singles))
    # the weights 1 and 0 are the first alone, not an ensemble of its runs
    assert fuse(contest, [1, 0], fused).top1.value == pytest.approx(singles[0])
    assert top1(np.mean(first, axis=0), labels) > singles[0] + 0.05


def test_logits_and_probabilities_are_two_fusions() -> None:
    contest = contest_of((1, 1))
    kinds = [fuse(contest, [1, 1], kind).top1.value for kind in ("probabilities", "logits")]
    assert kinds[0] != kinds[1]


def test_model_of_one_run_is_fused_with_each_of_the_others() -> None:
    contest = contest_of((3, 1))
    assert runs_match(contest)
    (alone,) = contest.contenders[1].scores
    by_hand = [top1(run + alone, contest.labels) for run in contest.contenders[0].scores]
    found = fuse(contest, [1, 1], "probabilities")
    assert found.top1.value == pytest.approx(np.mean(by_hand))
    assert not found.top1.runs  # one run of the other cannot tell how it varies
    assert not runs_match(contest_of((3, 2), videos=20))


def test_weights_are_searched_on_groups_that_are_not_reported_on() -> None:
    groups = np.arange(600) // 6
    contest = contest_of((2, 2), groups=groups)
    found = search_fusion(contest, "probabilities")
    assert found.videos + found.searched_on == 600
    assert 0.35 < found.videos / 600 < 0.65
    assert found.top1.value > found.best_single
    assert sum(found.weights) == pytest.approx(1)
    # no group is in both halves: each half is made of whole groups of 6
    assert found.videos % 6 == 0
    # and the halves do not hang on the numbers of the groups
    renamed = contest_of((2, 2), groups=99 - groups)
    assert search_fusion(renamed, "probabilities") == found
    with pytest.raises(ValueError, match="too few videos, or groups of videos"):
        search_fusion(contest_of((1, 1), groups=np.zeros(600, int)), "logits")


def test_external_scores_meet_single_runs() -> None:
    contest = contest_of((3,))
    external = np.random.default_rng(5).normal(size=(600, CLASSES))
    (found,) = fuse_external(contest, external)
    runs, labels = contest.contenders[0].logits, contest.labels
    assert found.alone == pytest.approx(np.mean([top1(run, labels) for run in runs]))
    fused = [top1(unit_rows(run) + unit_rows(external), labels) for run in runs]
    assert found.fused == pytest.approx(np.mean(fused))
    assert top1(np.mean(runs, axis=0), labels) > found.alone + 0.05
