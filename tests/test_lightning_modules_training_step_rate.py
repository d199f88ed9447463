"""Speed of training steps beside that of the loader."""

import pytest
import torch

import models
from datamodules.health.loading import LoaderSpeed
from lightning_modules.training import step_rate
from lightning_modules.training.step_rate import measure_steps, step_findings


def test_steps_on_one_batch_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    network = models.get_model("c2d_tiny", 2)
    before = network.fc.weight.detach().clone()
    cpu = torch.device("cpu")
    now = iter([0.0, 1.5, 1.5, 2.5, 3.0, 4.5])  # begin, first step, begin again, three steps
    monkeypatch.setattr(step_rate.time, "perf_counter", lambda: next(now))
    assert measure_steps(network, 2, 8, 32, cpu, 2.0) == 3 * 2 / 3.0
    assert not torch.equal(network.fc.weight, before)
    now = iter([0.0, 4.0])
    assert measure_steps(network, 2, 8, 32, cpu, 2.0) == 2 / 4.0  # the first took long enough


def test_loader_that_is_slower_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    network = models.get_model("c2d_tiny", 2)
    monkeypatch.setattr(step_rate, "measure_steps", lambda *_: 100.0)
    speeds = [
        LoaderSpeed(workers, rate, 9, rate, rate) for workers, rate in ((0, 500.0), (2, 40.0))
    ]
    (found,) = step_findings(network, (8, 32), 8, speeds, 1.0)
    assert found.level == "warning"
    assert "will wait for data 60% of the time" in found.sentence
    speeds = [LoaderSpeed(2, 95.0, 9, 95.0, 95.0)]
    (found,) = step_findings(network, (8, 32), 8, speeds, 1.0)
    assert (found.level, "keep up" in found.sentence) == ("note", True)
