"""Comparing score files: alignment, intervals and paired tests whose answers are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from written_scores import Array, write_scores

from lightning_modules.evaluation.comparison import compare
from lightning_modules.evaluation.multiplicity import holm
from lightning_modules.evaluation.score_files import (
    Contender,
    Contest,
    read_contest,
    read_external,
)


def contest_of(labels: Array, num_classes: int, *models: list[Array]) -> Contest:
    """A contest of models whose guesses are given, a list of seeds for each."""
    contenders = [
        Contender(f"model {i}", [np.eye(num_classes)[guess] for guess in seeds], {}, [])
        for i, seeds in enumerate(models)
    ]
    ids = [f"video {i}" for i in range(len(labels))]
    names = [f"class {k}" for k in range(num_classes)]
    return Contest(ids, labels, names, contenders, np.arange(len(labels)))


def guesses(rng: np.random.Generator, labels: Array, right: Array, num_classes: int) -> Array:
    """The label where right, else another class."""
    other = (labels + rng.integers(1, num_classes, size=len(labels))) % num_classes
    return np.where(right, labels, other)


def test_planted_gain_is_found() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(20, size=2000)
    right = rng.random(2000) < 0.7
    better = right.copy()
    # 10 % of the answers differ, 3 points more of them for the better
    wrong, correct = np.flatnonzero(~right), np.flatnonzero(right)
    better[rng.choice(wrong, 130, replace=False)] = True
    better[rng.choice(correct, 70, replace=False)] = False
    contest = contest_of(
        labels, 20, [guesses(rng, labels, right, 20)], [guesses(rng, labels, better, 20)]
    )
    found = compare(contest)
    (paired,) = found.against_first
    gain = paired.gains["top1"]
    assert gain.estimate.value == pytest.approx(0.03)
    assert gain.estimate.low > 0
    assert gain.runs_p < 1e-4
    assert gain.methods_p is None
    assert paired.tests.mcnemar is not None
    assert paired.tests.mcnemar < 1e-4
    assert (paired.only_first, paired.only_other) == (70, 130)
    assert found.accuracy[1]["top1"].value == pytest.approx(better.mean())


def test_metrics_equal_a_plain_oracle() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(7, size=200)
    labels[labels == 3] = 4  # a class without videos
    scores = rng.random((200, 7))
    scores[::5] = 0.5  # ties
    model = Contender("a", [scores], {}, [])
    ids = [str(i) for i in range(200)]
    contest = Contest(ids, labels, list("abcdefg"), [model], np.arange(200))
    found = compare(contest)
    order = np.argsort(-scores, axis=1, kind="stable")
    top5 = np.mean([label in row[:5] for label, row in zip(labels, order, strict=True)])
    recall = [np.mean(order[labels == k, 0] == k) for k in (0, 1, 2, 4, 5, 6)]
    assert found.accuracy[0]["top1"].value == pytest.approx(np.mean(order[:, 0] == labels))
    assert found.accuracy[0]["top5"].value == pytest.approx(top5)
    assert found.accuracy[0]["mean_class"].value == pytest.approx(np.mean(recall))
    assert np.isnan(found.per_class[0, 3])


def test_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(7, size=300), rng.random((300, 7))
    ids = [str(i) for i in range(300)]
    model = Contender("a", [scores], {}, [])
    found = compare(Contest(ids, labels, list("abcdefg"), [model], np.arange(300)))
    (values,), called = found.accuracy, scores.argmax(axis=1)
    assert values["top1"].value == pytest.approx(metrics.accuracy_score(labels, called))
    expected = metrics.top_k_accuracy_score(labels, scores, k=5)
    assert values["top5"].value == pytest.approx(expected)
    expected = metrics.balanced_accuracy_score(labels, called)
    assert values["mean_class"].value == pytest.approx(expected)


def test_classes_of_equal_models_are_seldom_called_different() -> None:
    """Of 40 classes the best and worst look significant; adjusted, in few contests any does."""
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(40), 20)
    looked, alarms = 0, 0
    for _ in range(30):
        first, other = (guesses(rng, labels, rng.random(800) < 0.7, 40) for _ in range(2))
        (paired,) = compare(contest_of(labels, 40, [first], [other])).against_first
        looked += min(gain.runs_p for gain in paired.classes if gain) < 0.05
        alarms += bool((paired.class_p < 0.05).any())
    assert looked > 20
    assert alarms <= 5


def test_p_of_several_models_are_adjusted_together() -> None:
    rng = np.random.default_rng(8)
    labels = np.repeat(np.arange(4), 100)
    models = [[guesses(rng, labels, rng.random(400) < share, 4)] for share in (0.6, 0.7, 0.7, 0.6)]
    found = compare(contest_of(labels, 4, *models)).against_first
    alone = [paired.tests.runs for paired in found]
    assert [paired.adjusted.runs for paired in found] == holm(alone)
    exact = [paired.tests.mcnemar for paired in found]
    assert [paired.adjusted.mcnemar for paired in found] == holm(
        [p for p in exact if p is not None]
    )
    assert [paired.adjusted.methods for paired in found] == [None] * 3


def test_mcnemar_is_silent_on_groups_and_on_several_runs() -> None:
    rng = np.random.default_rng(9)
    labels = np.zeros(60, int)
    models = [[guesses(rng, labels, rng.random(60) < 0.6, 3)] for _ in range(2)]
    alone = contest_of(labels, 3, *models)
    assert compare(alone).against_first[0].tests.mcnemar is not None
    grouped = replace(alone, groups=np.arange(60) // 3)
    assert compare(grouped).against_first[0].tests.mcnemar is None
    more = contest_of(labels, 3, models[0] * 2, models[1])
    assert compare(more).against_first[0].tests.mcnemar is None


def test_files_are_aligned_by_video_and_class(tmp_path: Path) -> None:
    usual = ["walk", "run", "jump"]
    first = write_scores(tmp_path / "a.npz", np.arange(8), usual)
    other = write_scores(tmp_path / "b.npz", np.arange(8)[::-1], ["jump", "walk", "run"])
    contest = read_contest({"a": [first], "b": [other]})
    a, b = contest.contenders
    np.testing.assert_allclose(a.scores[0], b.scores[0])
    assert list(contest.video_ids) == [f"v{i}" for i in range(8)]
    (paired,) = compare(contest).against_first
    assert paired.agreement == 1
    assert paired.gains["top1"].estimate.value == 0


def test_groups_are_numbered_and_unknown_ones_are_alone(tmp_path: Path) -> None:
    usual = ["walk", "run", "jump"]
    names = np.array(["g1", "", "g2", "", "g1", "g2", "7", ""])
    known = write_scores(tmp_path / "a.npz", np.arange(8), usual, groups=names)
    assert read_contest({"a": [known]}).groups.tolist() == [0, 1, 2, 3, 0, 2, 4, 5]
    without = write_scores(tmp_path / "b.npz", np.arange(8), usual)
    assert read_contest({"b": [without]}).groups.tolist() == list(range(8))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"class_names": np.array(["walk", "run", "hop"])}, "not tested on the same classes"),
        ({"video_ids": np.array([f"w{i}" for i in range(8)])}, "not tested on the same videos"),
        ({"video_ids": np.array(["v0"] * 8)}, "names a video twice"),
        ({"labels": np.array([1, 1, 2, 0, 1, 2, 0, 1])}, "disagree on the class of 1 videos"),
        ({"logits": np.full((8, 2, 3), np.nan)}, "not finite"),
        ({"logits": np.zeros((7, 2, 3))}, "do not fit together"),
    ],
)
def test_files_that_cannot_be_compared_are_refused(
    changed: dict[str, Array], sentence: str, tmp_path: Path
) -> None:
    usual = ["walk", "run", "jump"]
    first = write_scores(tmp_path / "a.npz", np.arange(8), usual)
    other = write_scores(tmp_path / "b.npz", np.arange(8), usual, **changed)
    with pytest.raises(ValueError, match=sentence):
        read_contest({"a": [first], "b": [other]})


def test_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no scores")
    with pytest.raises(ValueError, match="is not a whole score file"):
        read_contest({"a": [tmp_path / "text.npz"]})
    with pytest.raises(ValueError, match=r"absent.npz; `kinetoscope test` writes one"):
        read_contest({"a": [tmp_path / "absent.npz"]})
    write_scores(tmp_path / "scores_val_5x1.npz", np.arange(8), ["walk", "run", "jump"])
    with pytest.raises(ValueError, match=r"absent.npz; beside it there is scores_val_5x1.npz"):
        read_contest({"a": [tmp_path / "absent.npz"]})


def test_no_interval_of_a_log_loss_ends_below_zero() -> None:
    """Of two groups of videos nobody knows more than that it is not negative."""
    labels = np.array([0, 1, 0, 1])
    scores = [np.array([[0.6, 0.4], [0.4, 0.6], [0.5, 0.5], [0.9, 0.1]])]
    contender = Contender("one", scores, {}, scores)
    groups = np.array([0, 0, 1, 1])
    contest = Contest(["a", "b", "c", "d"], labels, ["x", "y"], [contender], groups)
    (loss,) = compare(contest).log_loss
    assert loss.low == 0
    assert loss.high > loss.value > 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("video_id,walk,run,hop\nv0,1,2,3\n", "not tested on the same classes"),
        ("video_id,walk,run,jump\nv0,1,2,3\n", "not tested on the same videos"),
        ("video_id,walk,run,jump\nv0,1,2\n", "do not fit scores of the shape"),
        ("video_id,walk,run,jump\nv0,1,2,nan\n", "some are not finite"),
        ("video_id,walk,run,jump\nv0,1,2,x\n", "holds no external scores"),
        ("v0,1,2,3\n", "its first column is 'v0', not video_id"),
        ("", "holds no external scores"),
        ("video_id,walk,run,jump\nv0,1,2,3\nv0,1,2,3\n", "names a video or a class twice"),
    ],
)
def test_external_scores_that_do_not_fit_are_refused(
    text: str, sentence: str, tmp_path: Path
) -> None:
    usual = ["walk", "run", "jump"]
    contest = read_contest({"a": [write_scores(tmp_path / "a.npz", np.arange(8), usual)]})
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_external(tmp_path / "b.csv", contest)
    with pytest.raises(ValueError, match="there is no file of external scores"):
        read_external(tmp_path / "c.csv", contest)
