"""The warnings that we ignore: Lightning and torch really issue them, in these words."""

import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities._pytree import _tree_flatten
from torch.utils._pytree import LeafSpec

from lightning_modules.session.expected_warnings import (
    EXPECTED,
    NOISE,
    ignore_expected_warnings,
)


class Stateful(Callback):
    """A callback that a checkpoint holds something of."""

    def state_dict(self) -> dict[str, Any]:
        return {"something": 1}


def trainer(folder: Path, *callbacks: Callback, **more: Any) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1,
        **{"logger": False, "max_epochs": 1, "limit_train_batches": 4, **more},
    )


def validate_with_other_callbacks(folder: Path) -> None:
    first = trainer(folder, Stateful(), max_steps=1)
    first.fit(BoringModel())
    first.save_checkpoint(folder / "one.ckpt")
    trainer(folder).validate(BoringModel(), ckpt_path=folder / "one.ckpt", verbose=False)


def fit_without_validation(folder: Path) -> None:
    model = BoringModel()
    trainer(folder).fit(model, model.train_dataloader(), [])


def fit_in_evaluation_mode(folder: Path) -> None:
    model = BoringModel()
    model.layer.eval()
    trainer(folder).fit(model)


def flatten_a_leaf(folder: Path) -> None:
    _tree_flatten(1)


class SaveWithinTheEpoch(Callback):
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            trainer.save_checkpoint(Path(trainer.default_root_dir, "two.ckpt"))


def resume_within_an_epoch(folder: Path) -> None:
    trainer(folder, SaveWithinTheEpoch()).fit(BoringModel())
    trainer(folder).fit(BoringModel(), ckpt_path=folder / "two.ckpt")


def fit_into_a_used_folder(folder: Path) -> None:
    (folder / "used.txt").touch()
    trainer(folder, ModelCheckpoint(folder)).fit(BoringModel())


def log_less_than_once_an_epoch(folder: Path) -> None:
    trainer(folder, logger=CSVLogger(folder), log_every_n_steps=5).fit(BoringModel())


PROVOKED: dict[str, Callable[[Path], None]] = {
    "Be aware that when using `ckpt_path`": validate_with_other_callbacks,
    "Total length of `list` across ranks is zero": fit_without_validation,
    "Found .* in eval mode at the start of training": fit_in_evaluation_mode,
    ".*treespec, LeafSpec.*": flatten_a_leaf,
    "You're resuming from a checkpoint that ended before": resume_within_an_epoch,
    "The number of training batches .* is smaller than the logging": log_less_than_once_an_epoch,
    "Checkpoint directory .* exists and is not empty": fit_into_a_used_folder,
}
"""How each warning that we ignore comes about."""


@pytest.mark.parametrize("message", EXPECTED)
def test_expected_warnings_are_issued_and_ignored(message: str, tmp_path: Path) -> None:
    if PROVOKED[message] is flatten_a_leaf and not hasattr(LeafSpec, "__deprecated__"):
        pytest.skip("this torch does not deprecate the name")
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        PROVOKED[message](tmp_path)
    texts = [str(warning.message) for warning in issued]
    assert any(re.match(message, text, re.IGNORECASE) for text in texts), texts
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        ignore_expected_warnings()
        for warning in issued:
            warnings.warn_explicit(warning.message, warning.category, "library.py", 1)
    ignored = {text for text in texts if re.match(message, text, re.IGNORECASE)}
    assert not ignored & {str(warning.message) for warning in left}


def test_lines_of_lightning_that_nobody_needs_are_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    monkeypatch.setattr(logger, "filters", [])
    monkeypatch.setattr(logger, "handlers", [caplog.handler])

    def lines() -> list[str]:
        caplog.clear()
        trainer(tmp_path, logger=CSVLogger(tmp_path)).fit(BoringModel())
        trainer(tmp_path, max_epochs=-1, max_steps=1).fit(BoringModel())
        return [record.getMessage() for record in caplog.records]

    before = lines()
    assert all(any(part in line for line in before) for part in NOISE)
    ignore_expected_warnings()
    after = lines()
    assert after
    assert set(after) == {line for line in before if not any(part in line for part in NOISE)}
