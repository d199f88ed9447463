"""Every metric against a few lines of numpy, on batches made to mislead."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datamodules.annotations.label_form import SINGLE
from lightning_modules.labels.columns import Columns
from lightning_modules.labels.metrics import (
    class_metric,
    make_metrics,
    mean_metric,
    per_class_accuracy,
)
from lightning_modules.reports.classes import write_per_class

Scores = NDArray[np.float32]
Labels = NDArray[np.int64]


def numpy_top_k(scores: Scores, labels: Labels, k: int, *, ties: bool = False) -> float:
    """Share of labels with fewer than k classes above them; with `ties`, equal ones are above."""
    own = scores[np.arange(len(labels)), labels][:, None]
    above = (scores > own).sum(axis=1) + (ties * ((scores == own).sum(axis=1) - 1))
    return float(np.mean(above < k))


def numpy_per_class(guesses: Labels, labels: Labels, num_classes: int) -> NDArray[np.float64]:
    """Accuracy of each class, NaN for those without samples."""
    found = [np.equal(guesses[labels == k], k) for k in range(num_classes)]
    return np.array([right.mean() if len(right) else np.nan for right in found])


def numpy_confusion(guesses: Labels, labels: Labels, num_classes: int) -> NDArray[np.int64]:
    counts = np.zeros((num_classes, num_classes), np.int64)
    for guess, label in zip(guesses, labels, strict=True):
        counts[label, guess] += 1
    return counts


def misleading(kind: str, seed: int) -> tuple[Scores, Labels, int]:
    """Scores and labels of 25 samples."""
    rng = np.random.default_rng(seed)
    num_classes = int(rng.integers(6, 30))
    scores = rng.normal(size=(25, num_classes)).astype(np.float32)
    labels = rng.integers(num_classes, size=25)
    if kind == "one class only":
        labels[:] = rng.integers(num_classes)
    elif kind == "absent classes":  # some of which are guessed
        labels = rng.choice(rng.choice(num_classes, 3, replace=False), size=25)
    elif kind == "one guess only":
        scores[:, rng.integers(num_classes)] += 100
    elif kind == "all wrong":
        scores[np.arange(25), labels] = -100
    elif kind == "last class only":
        labels[:] = num_classes - 1
    return scores, labels, num_classes


KINDS = ["plain", "one class only", "absent classes", "one guess only", "all wrong"]
KINDS += ["last class only"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_equals_numpy(kind: str) -> None:
    for seed in range(10):
        scores, labels, num_classes = misleading(kind, seed)
        metrics = make_metrics(SINGLE, Columns({}), num_classes, "val/")
        confusion = class_metric(SINGLE, Columns({}), num_classes)
        for batch in np.split(np.arange(25), [7, 8, 12]):  # batches of unequal size
            given = torch.from_numpy(scores[batch]), torch.from_numpy(labels[batch])
            metrics.update(*given)
            confusion.update(*given)
        found = {name: float(value) for name, value in metrics.compute().items()}
        assert found["val/top1"] == pytest.approx(numpy_top_k(scores, labels, 1), abs=1e-6)
        assert found["val/top5"] == pytest.approx(numpy_top_k(scores, labels, 5), abs=1e-6)
        guesses, counts = scores.argmax(axis=1), confusion.compute()
        expected = numpy_confusion(guesses, labels, num_classes)
        np.testing.assert_array_equal(counts.numpy(), expected)
        per_class = numpy_per_class(guesses, labels, num_classes)
        np.testing.assert_allclose(per_class_accuracy(counts).numpy(), per_class)
        mean_class = float(per_class_accuracy(counts).nanmean())
        # a class that is guessed but never there does not count
        assert mean_class == pytest.approx(np.mean([per_class[k] for k in set(labels.tolist())]))


def test_top_k_of_ties_lies_between_the_worst_and_the_best_order() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, size=(200, 8)).astype(np.float32)
    labels = rng.integers(8, size=200)
    metrics = make_metrics(SINGLE, Columns({}), 8, "val/")
    metrics.update(torch.from_numpy(scores), torch.from_numpy(labels))
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found["val/top1"] == pytest.approx(np.mean(scores.argmax(axis=1) == labels))
    worst, best = (numpy_top_k(scores, labels, 5, ties=ties) for ties in (True, False))
    assert worst < found["val/top5"] < best


def test_mean_is_over_samples_and_not_over_batches() -> None:
    rng = np.random.default_rng(0)
    losses = rng.exponential(size=25).astype(np.float32)
    mean = mean_metric()
    for batch in np.split(losses, [7, 8, 12]):
        mean.update(torch.from_numpy(batch))
    assert float(mean.compute()) == pytest.approx(losses.astype(np.float64).mean(), rel=1e-6)


def test_top5_is_left_out_where_it_says_nothing() -> None:
    assert set(make_metrics(SINGLE, Columns({}), 5, "val/").keys()) == {"val/top1"}


def test_per_class_table_names_what_a_class_is_taken_for(tmp_path: Path) -> None:
    confusion = torch.tensor([[1, 2, 0, 1], [0, 3, 0, 0], [0, 0, 0, 0], [0, 5, 0, 0]])
    write_per_class(tmp_path / "a.csv", ["walk", "run", "hop", "jump, high"], confusion)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["class", "videos", "accuracy", "most_often_taken_for", "so_often"]
    assert rows[1:] == [
        ["walk", "4", "0.250000", "run", "2"],
        ["run", "3", "1.000000", "", "0"],
        ["hop", "0", "", "", "0"],
        ["jump, high", "5", "0.000000", "run", "5"],
    ]
