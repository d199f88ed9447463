"""Content of a checkpoint, beside Lightning's own, that makes a resumed fit exactly the same.

The weights, the optimizer, the schedule and the moving average are Lightning's. Here is the rest:
the position in the order of clips (`TrainPosition`), random states of all ranks, counts of the
metrics of an epoch that is under way, and the meaning of the trainer's progress
(`loop_progress`).
"""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics import MetricCollection

from datamodules import VideoDataModule
from datamodules.errors import UserError
from lightning_modules.console import say
from lightning_modules.labels.classes import Classes
from lightning_modules.ranks import gather_objects
from lightning_modules.resume.loop_progress import (
    at_step_boundary,
    begin_whole_epoch,
    epoch_is_under_way,
    set_where_to_go_on,
)
from lightning_modules.resume.train_position import TrainPosition
from lightning_modules.runs.loggers import MetricsFile

KEY = "exact_resume"
"""Key of the callback's part of a checkpoint."""


class ExactResume(Callback):
    """Random states of all ranks and metrics of a broken-off epoch, stored and restored.

    Random states are restored when the first batch starts: what comes before it draws from them,
    in another order than an unbroken run.
    """

    def __init__(self) -> None:
        self._random: dict[str, Any] | None = None  # to be restored
        self._metrics: dict[str, Any] | None = None
        self._unlogged: tuple[int, dict[str, float]] | None = None
        self._lines: list[int] = []

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add this callback's part; every rank gives its own."""
        own = {
            "random": self._random or random_states(pl_module.device),
            "metrics": self._metrics or _metrics_under_way(trainer, pl_module),
        }
        checkpoint[KEY] = {
            "ranks": gather_objects(trainer, own),
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
            "at_step_boundary": at_step_boundary(trainer),
            "lines": [logger.num_lines for logger in _metrics_files(trainer)],
            "unlogged": unlogged_metrics(trainer),
            "position": _position(trainer),
            "absent": _absent(trainer),
        }
        set_where_to_go_on(trainer, checkpoint["loops"]["fit_loop"])

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what is to be restored when the training starts.

        Raises:
            UserError: If the steps of the optimizer, or the clips that are left, would be others.
        """
        if trainer.state.fn != "fit":
            return
        _check_same_file(trainer, checkpoint)
        saved = checkpoint[KEY]
        data = _ordered_data(trainer)
        if data is not None and saved["position"] is not None:
            TrainPosition(**saved["position"]).go_on(data, saved["absent"])
        self._unlogged, self._lines = saved["unlogged"], saved["lines"]
        was, now = saved["accumulate_grad_batches"], trainer.accumulate_grad_batches
        if was != now:
            raise UserError(
                f"trainer.accumulate_grad_batches was {was} and is now {now}: a resumed run keeps "
                "its optimizer steps; take the change back, or start a new run from the weights "
                "with --model.init_from"
            )
        ranks = saved["ranks"]
        own = ranks[trainer.global_rank % len(ranks)]
        self._random = own["random"]
        if len(ranks) == trainer.world_size:
            self._metrics = own["metrics"]
        else:
            say(
                f"resuming on {trainer.world_size} device(s) what {len(ranks)} began: the clips "
                "come in the same order, dropout differs, and the train metrics of this epoch "
                "count only from here"
            )
        if not saved["at_step_boundary"]:
            say(
                "note: the checkpoint was written between two optimizer steps, and gradients that "
                "waited for the next are lost: the run goes on, but not exactly as it would have"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the metrics of the epoch back, and the loggers to where the checkpoint was written.

        What was logged after it is logged again.
        """
        files = _metrics_files(trainer)
        for logger, count in zip(files, self._lines or [0] * len(files), strict=False):
            if logger.num_lines > count:
                lost = logger.num_lines - count
                say(f"{logger.path}: {lost} lines from after the checkpoint are logged again")
            logger.keep_lines(count)
        if self._unlogged is not None:
            step, metrics = self._unlogged
            for any_logger in trainer.loggers:
                any_logger.log_metrics(metrics, step)
        self._unlogged = None
        begin_whole_epoch(trainer)
        if self._metrics:
            _restore_metrics(pl_module, self._metrics)
        self._metrics = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put the random states back, once."""
        if self._random is not None:
            set_random_states(self._random, pl_module.device)
            self._random = None


def _ordered_data(trainer: Trainer) -> VideoDataModule | None:
    """Return the DataModule if its order of clips can be resumed; None for one of another kind."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, VideoDataModule) else None


def _position(trainer: Trainer) -> dict[str, Any] | None:
    data = _ordered_data(trainer)
    return None if data is None else TrainPosition.of(trainer, data).as_dict()


def _absent(trainer: Trainer) -> Tensor | None:
    data = _ordered_data(trainer)
    return None if data is None else torch.from_numpy(data.train_set.table.absent)


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the global random generators, loadable with `weights_only=True`.

    Args:
        device: The process's own device; its generator is included where it is a GPU.
    """
    kind, words, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    assert isinstance(words, np.ndarray)
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, words.tolist(), *rest),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Set the global random generators to what `random_states` gave."""
    random.setstate(states["python"])
    kind, words, *rest = states["numpy"]
    np.random.set_state((kind, np.array(words, np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def unlogged_metrics(trainer: Trainer) -> tuple[int, dict[str, float]] | None:
    """Return step and values that the trainer logs right after the callbacks, which save before."""
    loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
    epochs, batches = (
        vars(x.current) for x in (trainer.fit_loop.epoch_progress, loop.batch_progress)
    )
    if not trainer.training:
        return None
    step = loop._batches_that_stepped
    if epochs["processed"] > epochs["completed"]:
        step -= 1
    elif batches["processed"] == batches["completed"] or not connector.should_update_logs:
        return None
    logged = {name: float(value) for name, value in connector.metrics["log"].items()}
    return (step, {**logged, "epoch": trainer.current_epoch}) if logged else None


def _metrics_files(trainer: Trainer) -> list[MetricsFile]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]


def _check_same_file(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Check that all ranks go on from the same step: each has opened its file itself."""
    steps = gather_objects(trainer, checkpoint["global_step"])
    if len(set(steps)) > 1:
        raise UserError(
            f"the ranks found checkpoints of different steps, {steps}: their views of the run "
            "folder differ; wait until it is the same on all machines, and start again"
        )


def _metrics_under_way(trainer: Trainer, module: LightningModule) -> dict[str, dict[str, Tensor]]:
    """Return the counts of the train metrics of an epoch under way, on this rank."""
    if not epoch_is_under_way(trainer):
        return {}
    return {
        name: {key: torch.as_tensor(v).cpu().clone() for key, v in metric.metric_state.items()}
        for name, metric in _train_metrics(module).items(keep_base=True)
        if metric.update_called
    }


def _restore_metrics(module: LightningModule, states: dict[str, dict[str, Tensor]]) -> None:
    for name, metric in _train_metrics(module).items(keep_base=True):
        for key, value in states.get(name, {}).items():
            setattr(metric, key, value.to(module.device))
        metric._update_count = max(1, metric._update_count)  # else `compute` warns that it is empty


def _train_metrics(module: LightningModule) -> MetricCollection:
    classes = module.classes
    assert isinstance(classes, Classes)
    return classes.train_metrics
