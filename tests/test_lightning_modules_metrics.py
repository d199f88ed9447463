"""Every metric against a few lines of numpy, on batches made to mislead."""

import numpy as np
import pytest
import torch

from lightning_modules.metrics import accuracy_metrics, confusion_matrix, per_class_accuracy


def numpy_top_k(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    order = np.argsort(-scores, axis=1)[:, :k]
    return float(np.mean([label in row for label, row in zip(labels, order, strict=True)]))


@pytest.mark.parametrize("seed", range(20))
def test_accuracies_equal_numpy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    num_classes = int(generator.integers(6, 30))
    metrics = accuracy_metrics(num_classes, "val/")
    all_scores, all_labels = [], []
    # unequal batches; in odd seeds only a few classes occur, or one alone
    present = generator.choice(num_classes, size=1 + seed % 3 if seed % 2 else num_classes)
    for size in (7, 1, 4, 13):
        scores = generator.normal(size=(size, num_classes)).astype(np.float32)
        labels = generator.choice(present, size=size)
        metrics.update(torch.from_numpy(scores), torch.from_numpy(labels))
        all_scores.append(scores)
        all_labels.append(labels)
    scores, labels = np.concatenate(all_scores), np.concatenate(all_labels)
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found["val/top1"] == pytest.approx(numpy_top_k(scores, labels, 1), abs=1e-6)
    assert found["val/top5"] == pytest.approx(numpy_top_k(scores, labels, 5), abs=1e-6)


def test_top5_is_left_out_where_it_says_nothing() -> None:
    assert set(accuracy_metrics(5, "val/").keys()) == {"val/top1"}


def test_per_class_accuracy_is_nan_for_absent_classes() -> None:
    confusion = confusion_matrix(3)
    confusion.update(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1]))
    accuracy = per_class_accuracy(confusion.compute())
    np.testing.assert_allclose(accuracy.numpy(), [0.5, 1.0, np.nan])
