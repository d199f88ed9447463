"""Losses and metrics of videos with several classes equal slow loops."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from datamodules import LabelForm, UserError
from lightning_modules import BaselineModule
from lightning_modules.labels.columns import Columns
from lightning_modules.labels.heads import ColumnLoss, LabelHead, make_loss
from lightning_modules.labels.metrics import make_metrics
from lightning_modules.labels.several_labels import (
    ClassPrecision,
    ColumnConfusion,
    MeanAveragePrecision,
    average_precisions,
)

Array = NDArray[Any]
MANY = LabelForm("multi")
VERB_NOUN = LabelForm("columns", ("verb", "noun"))
GROUPS = {"verb": [0, 1, 2], "noun": [3, 4, 5, 6, 7, 8, 9]}


def charades_precision(scores: Array, marks: Array) -> float:
    """AP of a class as `Charades_v1_classify.m` goes through the ranking, video by video."""
    right, total = 0, 0.0
    for rank, video in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i]), 1):
        if marks[video]:
            right += 1
            total += right / rank
    return total / right


def drawn(seed: int, videos: int = 40, classes: int = 10) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    marks = (rng.random((videos, classes)) < 0.2).astype(np.uint8)
    marks[:, 3] = 0  # of which there is no video
    marks[:5] = 0
    return rng.normal(size=(videos, classes)).astype(np.float32), marks


def test_average_precision_is_that_of_charades_and_of_scikit_learn() -> None:
    for seed in range(20):
        scores, marks = drawn(seed)
        found = average_precisions(scores, marks)
        there = np.flatnonzero(marks.any(axis=0))
        assert np.isnan(np.delete(found, there)).all()
        slow = [charades_precision(scores[:, k], marks[:, k]) for k in there]
        np.testing.assert_allclose(found[there], slow, rtol=1e-12)
        tied = np.round(scores)  # many equal scores
        other = [average_precision_score(marks[:, k], tied[:, k]) for k in there]
        np.testing.assert_allclose(average_precisions(tied, marks)[there], other, rtol=1e-12)


def test_mean_average_precision_does_not_depend_on_batches() -> None:
    scores, marks = drawn(0)
    scores[:10] = np.abs(scores[:10]) % 1  # logits of a batch that all look like probabilities
    for skips, rows in ((False, slice(None)), (True, marks.any(axis=1))):
        mean, each = MeanAveragePrecision(10, skips), ClassPrecision(10, skips)
        for batch in np.split(np.arange(40), [10, 10, 13]):  # one of them empty
            given = torch.from_numpy(scores[batch]), torch.from_numpy(marks[batch])
            mean.update(*given)
            each.update(*given)
        expected = average_precisions(scores[rows], marks[rows])
        assert float(mean.compute()) == pytest.approx(np.nanmean(expected), rel=1e-6)
        np.testing.assert_allclose(each.compute()[:, 0], expected, rtol=1e-6)
        np.testing.assert_array_equal(each.compute()[:, 1], marks.sum(axis=0))
    nothing = MeanAveragePrecision(3, False)
    nothing.update(torch.zeros(0, 3), torch.zeros(0, 3))
    assert torch.isnan(nothing.compute())


def columns_drawn(seed: int) -> tuple[Array, Array]:
    """Scores and marks of a class of each column, or of none."""
    rng = np.random.default_rng(seed)
    scores, marks = rng.normal(size=(30, 10)).astype(np.float32), np.zeros((30, 10), np.uint8)
    for labels in GROUPS.values():
        for row in np.flatnonzero(rng.random(30) < 0.8):
            marks[row, rng.choice(labels)] = 1
    return scores, marks


def test_column_metrics_equal_loops_over_videos() -> None:
    scores, marks = columns_drawn(0)
    metrics = make_metrics(VERB_NOUN, Columns(GROUPS), 10, "val/")
    confusion = ColumnConfusion(Columns(GROUPS), 10)
    for batch in np.split(np.arange(30), [7, 20]):
        metrics.update(torch.from_numpy(scores[batch]), torch.from_numpy(marks[batch]))
        confusion.update(torch.from_numpy(scores[batch]), torch.from_numpy(marks[batch]))
    right: dict[str, list[bool]] = {"verb": [], "noun": [], "noun5": [], "action": []}
    counts = np.zeros((10, 10), int)
    for row, marked in zip(scores, marks, strict=True):
        hits = []
        for column, labels in GROUPS.items():
            own = [k for k in labels if marked[k]]
            ranked = sorted(labels, key=lambda k, row=row: -row[k])
            if own:
                hits.append(ranked[0] == own[0])
                right[column].append(hits[-1])
                counts[own[0], ranked[0]] += 1
                if column == "noun":
                    right["noun5"].append(own[0] in ranked[:5])
        if len(hits) == 2:
            right["action"].append(all(hits))
    expected = {name: np.mean(values) for name, values in right.items()}
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found == pytest.approx(
        {
            "val/verb_top1": expected["verb"],
            "val/noun_top1": expected["noun"],
            "val/noun_top5": expected["noun5"],
            "val/action_top1": expected["action"],
        }
    )
    np.testing.assert_array_equal(confusion.compute(), counts)


def test_losses_equal_loops_over_classes() -> None:
    scores, marks = columns_drawn(1)
    logits, targets = torch.from_numpy(scores), torch.from_numpy(marks).float()
    each, of_columns = [], {column: list[float]() for column in GROUPS}
    for row, marked in zip(scores.astype(float), marks, strict=True):
        losses = []
        for column, labels in GROUPS.items():
            own = [k for k in labels if marked[k]]
            if own:
                losses.append(np.log(np.exp(row[labels]).sum()) - row[own[0]])
                of_columns[column].append(losses[-1])
        each.append(np.mean(losses) if losses else 0.0)
    head = LabelHead(VERB_NOUN, Columns(GROUPS))
    np.testing.assert_allclose(head.losses(logits, targets), each, rtol=1e-5)
    expected = np.mean([np.mean(losses) for losses in of_columns.values()])
    loss = make_loss(None, 0.0, VERB_NOUN, Columns(GROUPS))
    assert float(loss(logits, targets)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(logits, torch.zeros_like(targets))) == 0  # nothing is labelled
    shares = 1 / (1 + np.exp(-scores.astype(float)))
    binary = -np.where(marks > 0, np.log(shares), np.log(1 - shares))
    found_each = LabelHead(MANY, Columns({})).losses(logits, targets)
    np.testing.assert_allclose(found_each, binary.mean(axis=1), rtol=1e-5)
    found = float(make_loss(None, 0.0, MANY, Columns({}))(logits, targets))
    assert found == pytest.approx(binary.mean(), rel=1e-5)


def test_what_a_validation_made_serves_the_training() -> None:
    scores, marks = columns_drawn(3)
    columns, targets = Columns(GROUPS), torch.from_numpy(marks).float()
    with torch.inference_mode():
        LabelHead(VERB_NOUN, columns).losses(torch.from_numpy(scores), targets)
    logits = torch.from_numpy(scores).requires_grad_()
    ColumnLoss(columns)(logits, targets).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


def test_columns_of_fully_labelled_mixed_clips_have_the_usual_cross_entropy() -> None:
    scores, marks = columns_drawn(2)
    rows = np.flatnonzero(marks.sum(axis=1) == 2)
    logits, marked = torch.from_numpy(scores[rows]), torch.from_numpy(marks[rows]).float()
    mixed = torch.lerp(marked.roll(-1, 0), marked, 0.7)
    found = float(ColumnLoss(Columns(GROUPS), 0.1)(logits, mixed))
    usual = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    parts = [float(usual(logits[:, k], mixed[:, k])) for k in GROUPS.values()]
    assert found == pytest.approx(np.mean(parts), rel=1e-5)


def test_settings_without_meaning_are_refused() -> None:
    def module(**more: Any) -> BaselineModule:
        return BaselineModule("c2d_tiny", num_classes=4, class_names=list("abcd"), **more)

    many = MANY.as_dict()
    with pytest.raises(UserError, match=r"label_smoothing=0\.1 spreads one class"):
        module(label_form=many, label_smoothing=0.1)
    with pytest.raises(UserError, match="average=maximum takes each class by itself"):
        module(average="maximum")
    with pytest.raises(UserError, match="'a' belongs to none of the columns"):
        module(label_form=VERB_NOUN.as_dict())
    assert module(label_form=many, average="maximum").label_form == MANY


def test_columns_follow_the_order_of_the_classes() -> None:
    names = ["verb:a", "verb:b", "noun:c", "noun:d", "noun:e"]
    more: dict[str, Any] = {"label_form": VERB_NOUN.as_dict(), "label_smoothing": 0.1}
    ours, theirs = (
        BaselineModule("c2d_tiny", num_classes=5, class_names=order, **more)
        for order in (names, names[::-1])
    )
    theirs.classes.name(names, names)
    logits = torch.randn(6, 5)
    marks = torch.eye(5)[[0, 1, 1, 0, 1, 0]] + torch.eye(5)[[2, 3, 4, 2, 3, 4]]
    torch.testing.assert_close(theirs.criterion(logits, marks), ours.criterion(logits, marks))
    losses = (module.classes.head.losses(logits, marks) for module in (ours, theirs))
    torch.testing.assert_close(*losses)
    for module in (ours, theirs):
        module.classes.val_metrics.update(logits, marks)
    assert theirs.classes.val_metrics.compute() == ours.classes.val_metrics.compute()


def test_views_are_joined_as_said() -> None:
    logits = torch.randn(2, 3, 4)
    shares = logits.double().sigmoid()
    for average, expected in (
        ("probabilities", shares.mean(1)),
        ("maximum", shares.amax(1)),
        ("logits", logits.double().mean(1)),
    ):
        more: dict[str, Any] = {"label_form": MANY.as_dict(), "average": average}
        module = BaselineModule("c2d_tiny", num_classes=4, class_names=list("abcd"), **more)
        torch.testing.assert_close(module.classes.scores(logits).double(), expected)
