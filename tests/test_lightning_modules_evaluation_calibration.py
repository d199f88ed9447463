"""Calibration against its definition in a loop, and scikit-learn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as log_loss_of_scikit_learn

from lightning_modules.evaluation.calibration import calibrate, log_loss
from lightning_modules.evaluation.multiplicity import benjamini_hochberg, holm


def scores_of(rng: np.random.Generator, videos: int) -> np.ndarray:
    logits = 2 * rng.normal(size=(videos, 5))
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


def test_error_is_the_definition_in_a_loop() -> None:
    rng = np.random.default_rng(0)
    labels, runs = rng.integers(5, size=400), [scores_of(rng, 400) for _ in range(2)]
    errors = []
    for scores in runs:
        error = 0.0
        for k in range(15):
            held = [
                (max(row), float(np.argmax(row) == label))
                for row, label in zip(scores, labels, strict=True)
                if k / 15 < max(row) <= (k + 1) / 15
            ]
            if held:
                confidence, right = np.mean(held, axis=0)
                error += len(held) / 400 * abs(confidence - right)
        errors.append(error)
    found = calibrate(runs, labels)
    # each run by itself: an ensemble of them would be calibrated otherwise
    assert found.error == pytest.approx(np.mean(errors))
    assert found.share.sum() == pytest.approx(1)


def test_bins_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(5, size=500), scores_of(rng, 500)
    right = scores.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(right, scores.max(axis=1), n_bins=15)
    found = calibrate([scores], labels)
    held = found.share > 0
    np.testing.assert_allclose(found.accuracy[held], accuracy)
    np.testing.assert_allclose(found.confidence[held], confidence)
    assert np.isnan(found.accuracy[~held]).all()


def test_sure_and_right_is_perfect_and_sure_and_wrong_is_the_worst() -> None:
    labels = np.arange(4)
    assert calibrate([np.eye(4)], labels).error == 0
    assert calibrate([np.eye(4)[::-1]], labels).error == 1


def test_log_loss_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(5, size=200), scores_of(rng, 200)
    expected = log_loss_of_scikit_learn(labels, scores, labels=range(5))
    assert log_loss(scores, labels).mean() == pytest.approx(expected)
    # a class that was called impossible costs much, not without end
    assert log_loss(np.eye(2), np.array([1, 1]))[0] == pytest.approx(36.04, abs=0.01)


def test_many_p_are_adjusted_by_hand() -> None:
    # smallest first: 4 x 0.005, 3 x 0.01, 2 x 0.03, and never below an earlier one
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # largest first: 0.04, 4/3 x 0.03, 4/2 x 0.01, 4 x 0.005, and never above an earlier one
    adjusted = benjamini_hochberg([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert holm([]) == benjamini_hochberg([]) == []
    assert holm([0.6, 0.9]) == [1.0, 1.0]
