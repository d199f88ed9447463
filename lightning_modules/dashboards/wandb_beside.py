"""Tests and looks in W&B: runs beside the run that trained, linked to it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


@dataclass(frozen=True)
class RecordedLook:
    """Findings of `explain`, as W&B is to have them.

    Attributes:
        name: Its name.
        items: What is shown, by name.
    """

    name: str
    items: Mapping[str, Item]


def send_test(folder: Path, run_id: str | None, test: RecordedTest) -> None:
    """Send a test to the project of the run that trained, where that is in W&B.

    W&B that fails is said, and no more: the files of the test are whole.

    Args:
        folder: Folder of the run that trained.
        run_id: Its id, as the checkpoint tells it.
        test: The test.
    """
    with _sending(folder, run_id, "test") as trained:
        if trained is None:
            return
        address = _send_run(folder, trained, test)
        say(f"W&B: the test is the run {address.id} of the project {address.project}")
        if is_in_use(folder):
            say(f"W&B: the run {trained.id} still trains, so its summary gets no entry")
        else:
            _send_summary(folder, trained, test, address)


def send_look(folder: Path, run_id: str | None, look: RecordedLook) -> None:
    """Send what `explain` found to the project of the run that trained; see `send_test`."""
    with _sending(folder, run_id, "look") as trained:
        if trained is None:
            return
        with _begin(folder, trained, "explain", look.name, {}) as run:
            run.log(_shown(look.items))
            say(f"W&B: it is the run {run.id} of the project {run.project}")


@contextmanager
def _sending(folder: Path, run_id: str | None, what: str) -> Iterator[WandbAddress | None]:
    """Find the run that trained, None where nothing is to be sent; say what W&B fails with."""
    trained = WandbAddress.read(folder)
    if trained is None or trained.id != run_id:
        yield None
        return
    if os.environ.get("WANDB_SWEEP_ID"):
        say(f"W&B: no {what} is sent from within a sweep, where every run is the sweep's own")
        yield None
        return
    try:
        with shown_command_line():
            yield trained
    except Exception as error:
        if not is_of_wandb(error):
            raise
        say(f"W&B has ended ({error or type(error).__name__}); the files of the {what} are whole")
        with suppress(Exception):
            wandb.teardown()


def _begin(
    folder: Path, trained: WandbAddress, kind: str, name: str, config: Mapping[str, Any]
) -> Any:
    """Begin a run beside the one that trained, which it names."""
    return _init(
        folder,
        trained,
        job_type=kind,
        name=f"{trained.name} {name}",
        notes=f"{kind.capitalize()} of the run {trained.id} ({trained.name}).",
        config={"trained_run": trained.id, "trained_run_name": trained.name, **config},
    )


def _init(folder: Path, address: WandbAddress, **kwargs: Any) -> Any:
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
    with _begin(folder, trained, "test", test.name, {"protocol": test.config}) as run:
        _use_checkpoint(run, folder, trained, test.checkpoint)
        run.log({**test.metrics, **_shown(test.items)})
        scores = scores_artifact(test.scores, trained.name, test.config)
        run.log_artifact(scores, aliases=[test.name])
        return WandbAddress.of(run)


def _shown(items: Mapping[str, Item]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, item in items.items():
        shown |= as_wandb(name, item)
    return shown


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
    with _init(folder, trained, id=trained.id, name=trained.name, resume="allow") as run:
        entries = {**test.metrics, "run": address.id}
        run.summary.update({f"{test.name}/{key}": value for key, value in entries.items()})
