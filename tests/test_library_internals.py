"""What we use of libraries that they do not promise: it is there, and its absence would be loud."""

import ast
import importlib
import inspect
import pkgutil
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import reduce
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import wandb
from conftest import PROJECT_ROOT
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import WandbLogger
from torchmetrics.classification import MulticlassAccuracy

import datamodules
import lightning_modules
from lightning_modules.commands.fit import VideoCLI
from lightning_modules.console import OneSentenceParser, ToolParser
from lightning_modules.resume.loop_progress import begin_whole_epoch, set_where_to_go_on
from lightning_modules.resume.preemption import Preemption
from lightning_modules.resume.stop_signals import StopSignals
from lightning_modules.training.averaging import AveragedWeights

TRAINER = (
    "_signal_connector.register_signal_handlers",
    "_logger_connector.should_update_logs",
    "_logger_connector.metrics.log",
    "fit_loop._data_fetcher",
    "fit_loop.epoch_progress.current.started",
    "fit_loop.epoch_progress.current.processed",
    "fit_loop.epoch_progress.current.completed",
    "fit_loop.epoch_loop._batches_that_stepped",
    "fit_loop.epoch_loop._should_check_val_fx",
    "fit_loop.epoch_loop.restarting",
    "fit_loop.epoch_loop.batch_progress.is_last_batch",
    "fit_loop.epoch_loop.batch_progress.current.ready",
    "fit_loop.epoch_loop.batch_progress.current.processed",
    "fit_loop.epoch_loop.batch_progress.current.completed",
)
"""Of the trainer, in the middle of a fit."""

STATE = (
    "epoch_progress.total.completed",
    "epoch_progress.current.processed",
    "epoch_loop/batch_progress.total.completed",
    "epoch_loop/batch_progress.current.processed",
    "epoch_loop/batch_progress.is_last_batch",
    "epoch_loop/val_loop/batch_progress.total.ready",
    "epoch_loop/val_loop/batch_progress.current.started",
    "epoch_loop/val_loop/batch_progress.is_last_batch",
    "epoch_loop/state_dict._batches_that_stepped",
)
"""Of what the trainer's loops give a checkpoint; a slash stands for a dot in a key."""

METRIC = ("_update_count", "metric_state", "update_called")
AVERAGING = ("_average_model.n_averaged", "_average_model.module")
PARSER = ("_actions",)
CLI = ("_subcommand_parsers",)
LOGGER = ("_wandb_init.anonymous", "_id", "_save_dir", "_offline")
WANDB = ("run", "finish", "teardown", "Settings", "sdk.wandb_run.Run.mark_preempting")

OVERRIDDEN: dict[type[Any], tuple[type[Any], tuple[str, ...]]] = {
    VideoCLI: (
        LightningCLI,
        (
            "subcommands",
            "add_arguments_to_parser",
            "parse_arguments",
            "before_instantiate_classes",
            "after_instantiate_classes",
            "instantiate_trainer",
        ),
    ),
    OneSentenceParser: (ArgumentParser, ("error",)),
    lightning_modules.callbacks.run_config.RunConfig: (SaveConfigCallback, ("save_config",)),
    lightning_modules.runs.wandb_runs.LosableLogger: (
        WandbLogger,
        ("log_metrics", "log_hyperparams", "after_save_checkpoint", "finalize"),
    ),
}
"""Methods of libraries that ours take the place of: under another name ours would never run."""


def part(whole: Any, name: str) -> Any:
    """An attribute, or an item of a dictionary."""
    if isinstance(whole, dict):
        return whole[name.replace("/", ".")]
    return getattr(whole, name)


def found(whole: Any, path: str) -> Any:
    return reduce(part, path.split("."), whole)


class Look(Callback):
    """Looks at the trainer in the middle of a fit, where checkpoints are written."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.checks: list[object] = []
        self.state: dict[str, Any] = {}

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.state = trainer.fit_loop.state_dict()
        for whole, paths in ((trainer, TRAINER), (self.state, STATE)):
            for path in paths:
                try:
                    found(whole, path)
                except (AttributeError, KeyError):
                    self.missing.append(path)
        loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
        assert fetcher is not None
        self.checks.append(loop._should_check_val_fx(fetcher))
        set_where_to_go_on(trainer, self.state)


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> Look:
    look, averages = Look(), AveragedWeights(0.9)
    trainer = Trainer(
        default_root_dir=tmp_path_factory.mktemp("run"),
        accelerator="cpu",
        callbacks=[look, averages],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=1,
        limit_train_batches=3,
        limit_val_batches=1,
    )
    trainer.fit(BoringModel())
    return look


def test_the_trainer_has_what_resuming_reads(look: Look) -> None:
    assert look.missing == []
    assert look.checks == [False, False, True]
    validation = look.state["epoch_loop.val_loop.batch_progress"]
    assert validation["current"] == {"ready": 1, "started": 1, "processed": 0, "completed": 0}


def test_metrics_averages_and_parsers_have_it() -> None:
    metric = MulticlassAccuracy(num_classes=2)
    averages = AveragedWeights(0.9)
    averages.setup(Trainer(accelerator="cpu", logger=False), BoringModel(), "fit")
    for whole, paths in (
        (metric, METRIC),
        (averages, AVERAGING),
        (ToolParser("tool", "a tool"), PARSER),
        (LightningArgumentParser(), PARSER),
        (wandb, WANDB),
        (WandbLogger(), LOGGER),
    ):
        for path in paths:
            found(whole, path)
    metric.update(torch.tensor([1]), torch.tensor([1]))
    assert metric._update_count == 1


def test_the_command_line_has_it() -> None:
    assert "self._subcommand_parsers" in inspect.getsource(LightningCLI)


def test_a_renamed_handler_of_signals_is_loud() -> None:
    trainer = SimpleNamespace(_signal_connector=SimpleNamespace(), loggers=[])
    with pytest.raises(AssertionError, match="another name"):
        Preemption(StopSignals()).on_fit_start(trainer, None)  # type: ignore[arg-type]


def loops(started: int, **more: Any) -> Any:
    """A trainer in as far as the loops' progress reads it."""
    epochs = SimpleNamespace(current=SimpleNamespace(started=started, processed=0))
    fit_loop = SimpleNamespace(epoch_progress=epochs, epoch_loop=SimpleNamespace())
    return SimpleNamespace(sanity_checking=False, fit_loop=fit_loop, **more)


def test_a_renamed_restart_is_loud() -> None:
    with pytest.raises(AssertionError, match="whether it restarts"):
        begin_whole_epoch(loops(started=0))


@pytest.mark.parametrize("renamed", ["ready", "started", "completed"])
def test_a_renamed_count_is_loud(renamed: str) -> None:
    counts = dict.fromkeys({"ready", "started", "processed", "completed", "done"} - {renamed}, 1)
    progress = {"total": counts, "current": counts}
    with pytest.raises(AssertionError, match=r"Lightning counts .*'done'"):
        set_where_to_go_on(loops(started=0), {"epoch_progress": progress})


def test_a_renamed_last_batch_is_loud() -> None:
    counts = dict.fromkeys(("ready", "started", "processed", "completed"), 1)
    progress = {"total": counts, "current": counts, "is_final_batch": True}
    state = {"epoch_loop.batch_progress": progress, "epoch_loop.val_loop.batch_progress": progress}
    with pytest.raises((AssertionError, KeyError), match="last"):
        set_where_to_go_on(loops(started=1, validating=True), state)


def our_classes() -> Iterator[type[Any]]:
    for package in (datamodules, lightning_modules):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.endswith("__main__"):
                continue
            module = importlib.import_module(info.name)
            for _, cls in inspect.getmembers(module, inspect.isclass):
                if cls.__module__ == info.name:
                    yield cls


def test_every_hook_is_one_that_lightning_calls() -> None:
    bases = (Callback, LightningModule, LightningDataModule)
    seen = 0
    for cls in our_classes():
        for base in bases:
            if issubclass(cls, base):
                hooks = [name for name in vars(cls) if name.startswith("on_") and name in dir(cls)]
                hooks = [name for name in hooks if callable(getattr(cls, name))]
                seen += len(hooks)
                assert not [name for name in hooks if not hasattr(base, name)], cls
    assert seen > 40


@pytest.mark.parametrize("ours", OVERRIDDEN, ids=lambda cls: cls.__name__)
def test_overridden_methods_are_the_librarys(ours: type[Any]) -> None:
    base, names = OVERRIDDEN[ours]
    for name in names:
        assert name in vars(ours)
        assert callable(getattr(base, name))


def own_names(tree: ast.AST) -> set[str]:
    """Private names that a file defines itself: functions, names of classes, what it sets."""
    own = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            own.add(node.name)
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return own


def test_every_private_name_of_a_library_is_in_the_tables() -> None:
    listed = {
        name
        for path in (*TRAINER, *STATE, *METRIC, *AVERAGING, *PARSER, *CLI, *LOGGER)
        for name in path.split(".")
        if name.startswith("_")
    }
    used = set[str]()
    sources = [
        path
        for package in ("models", "datamodules", "lightning_modules")
        for path in (PROJECT_ROOT / package).rglob("*.py")
    ]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sources]
    ours = set[str]().union(*map(own_names, trees)) - listed
    for tree in trees:
        for node in ast.walk(tree):
            private = isinstance(node, ast.Attribute) and node.attr.startswith("_")
            if private and not node.attr.startswith("__") and node.attr not in ours:
                used.add(node.attr)
    assert used - {"_exit", "_HANDLER"} == listed  # those two are of Python
