"""The confusion picture of a fit is that of the checkpoint that is kept."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_modules import BaselineModule
from lightning_modules.callbacks.validation_report import ValidationReport

RIGHT = (2, 3, 1, 3)
"""Videos that are right in each epoch, of four."""


def validate(report: ValidationReport, module: BaselineModule, epoch: int, right: int) -> None:
    labels = torch.tensor([0, 1, 0, 1])
    answers = torch.where(torch.arange(4) < right, labels, 1 - labels)
    module.classes.val_by_class.update(answers, labels)
    trainer: Any = SimpleNamespace(
        sanity_checking=False,
        state=SimpleNamespace(fn="fit"),
        global_step=10 * (epoch + 1),
        current_epoch=epoch,
        is_global_zero=True,
        loggers=[],
        callback_metrics={"val/top1": torch.tensor(right / 4)},
    )
    report.on_validation_epoch_end(trainer, module)


def right_videos(folder: Path) -> float:
    with (folder / "per_class.csv").open() as file:
        return sum(float(r["videos"]) * float(r["accuracy"]) for r in csv.DictReader(file))


@pytest.mark.parametrize(("keep_best", "kept"), [(True, [2, 3, 3, 3]), (False, [2, 3, 1, 3])])
def test_table_is_that_of_the_kept_weights(
    keep_best: bool, kept: list[int], tmp_path: Path
) -> None:
    module = BaselineModule("c2d_tiny", num_classes=2, class_names=["a", "b"])
    report = ValidationReport(tmp_path, keep_best)
    for epoch, right in enumerate(RIGHT):
        validate(report, module, epoch, right)
        assert right_videos(tmp_path) == kept[epoch]
    assert report.best == {"value": 0.75, "epoch": 1, "step": 19}


def test_resumed_run_knows_its_best(tmp_path: Path) -> None:
    module = BaselineModule("c2d_tiny", num_classes=2, class_names=["a", "b"])
    report = ValidationReport(tmp_path)
    validate(report, module, 0, 3)
    resumed = ValidationReport(tmp_path)
    resumed.load_state_dict(report.state_dict())
    validate(resumed, module, 1, 2)
    assert right_videos(tmp_path) == 3
    assert resumed.best == {"value": 0.75, "epoch": 0, "step": 9}
