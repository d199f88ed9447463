"""Tests in W&B: a run of their own, linked to the run that trained, and an entry in its summary."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb

from lightning_modules.console import say
from lightning_modules.dashboards.artifacts import KEPT, checkpoint_name, scores_artifact
from lightning_modules.dashboards.items import Item
from lightning_modules.dashboards.wandb_items import as_wandb
from lightning_modules.runs.folder import folder_of_checkpoint
from lightning_modules.runs.lock import is_in_use
from lightning_modules.runs.wandb_runs import (
    WandbAddress,
    is_of_wandb,
    shown_command_line,
    works_offline,
)


@dataclass(frozen=True)
class RecordedTest:
    """A test, as W&B is to have it.

    Attributes:
        name: Its name, such as `test_10x3`.
        metrics: Its results.
        config: Its protocol.
        items: What else is shown, by name.
        checkpoint: The checkpoint that was tested.
        scores: The score file.
    """

    name: str
    metrics: Mapping[str, float]
    config: Mapping[str, Any]
    items: Mapping[str, Item]
    checkpoint: Path
    scores: Path


def send_test(folder: Path, run_id: str | None, test: RecordedTest) -> None:
    """Send a test to the project of the run that trained, where that is in W&B.

    W&B that fails is said, and no more: the files of the test are whole.

    Args:
        folder: Folder of the run that trained.
        run_id: Its id, as the checkpoint tells it.
        test: The test.
    """
    trained = WandbAddress.read(folder)
    if trained is None or trained.id != run_id:
        return
    if os.environ.get("WANDB_SWEEP_ID"):
        say("W&B: no test is sent from within a sweep, where every run is the sweep's own")
        return
    try:
        with shown_command_line():
            address = _send_run(folder, trained, test)
            say(f"W&B: the test is the run {address.id} of the project {address.project}")
            if is_in_use(folder):
                say(f"W&B: the run {trained.id} still trains, so its summary gets no entry")
            else:
                _send_summary(folder, trained, test, address)
    except Exception as error:
        if not is_of_wandb(error):
            raise
        say(f"W&B has ended ({error or type(error).__name__}); the files of the test are whole")
        with suppress(Exception):
            wandb.teardown()


def _begin(folder: Path, address: WandbAddress, **kwargs: Any) -> Any:
    """Begin a run in the project of another, without the lines that W&B prints for each."""
    return wandb.init(
        dir=str(folder),
        project=address.project,
        entity=address.entity or None,
        group=address.group or None,
        mode="offline" if works_offline() else None,
        settings=wandb.Settings(silent=True, console="off"),
        **kwargs,
    )


def _send_run(folder: Path, trained: WandbAddress, test: RecordedTest) -> WandbAddress:
    """Make the run of a test, with its table and pictures."""
    config = {"trained_run": trained.id, "trained_run_name": trained.name, "protocol": test.config}
    run = _begin(
        folder,
        trained,
        job_type="test",
        name=f"{trained.name} {test.name}",
        notes=f"Test of the run {trained.id} ({trained.name}).",
        config=config,
    )
    with run:
        _use_checkpoint(run, folder, trained, test.checkpoint)
        shown = {key: value for name in test.items for key, value in _shown(name, test).items()}
        run.log({**test.metrics, **shown})
        scores = scores_artifact(test.scores, trained.name, test.config)
        run.log_artifact(scores, aliases=[test.name])
        return WandbAddress.of(run)


def _shown(name: str, test: RecordedTest) -> dict[str, Any]:
    return as_wandb(name, test.items[name])


def _use_checkpoint(run: Any, folder: Path, trained: WandbAddress, path: Path) -> None:
    """Link the test to the checkpoint, where that is an artifact of the run on W&B's server."""
    alias, model = path.stem, checkpoint_name(path)
    if run.offline or alias not in KEPT or folder_of_checkpoint(path) != folder.resolve():
        return
    where = "/".join(filter(None, (trained.entity, trained.project, model)))
    try:
        run.use_artifact(f"{where}:{alias}")
    except (wandb.Error, ValueError) as error:
        say(f"W&B has no artifact {where}:{alias} ({error}), so the test is not linked to it")


def _send_summary(
    folder: Path, trained: WandbAddress, test: RecordedTest, address: WandbAddress
) -> None:
    """Set the results in the summary of the run that trained, with the id of the test's run."""
    with _begin(folder, trained, id=trained.id, name=trained.name, resume="allow") as run:
        entries = {**test.metrics, "run": address.id}
        run.summary.update({f"{test.name}/{key}": value for key, value in entries.items()})
