"""Runs in W&B: one row a step, no secret of the command line, no fit that ends with them."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import wandb
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from datamodules.redaction import shown_words
from lightning_modules.console import say

_lost_runs: set[str] = set()


class RunLogger(WandbLogger):
    """W&B with the trainer's step as its own: a step that is logged again is not a new one.

    A resumed run logs the steps after its checkpoint once more, with the same values. W&B takes
    each for a row that it has already, so that its curves neither repeat nor turn back.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._step = 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log one row, or add to that of the same step."""
        self._step = max(self._step, step or 0)
        row = {**metrics, "trainer/global_step": self._step}
        self.experiment.log(row, step=self._step)


class _LosableLogger(WandbLogger):
    """A W&B logger whose process may end, and whose disk may be full, while the fit goes on."""

    stopping: Callable[[], bool]
    _is_lost = False

    @property
    def experiment(self) -> Any:
        """The run in W&B; after a loss something that takes every call and does nothing."""
        if not self._is_lost:
            with self._losing(), _shown_command_line():
                return super().experiment
        return _Nothing()

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log one row; images and tables go through here, too."""
        with self._losing():
            super().log_metrics(metrics, step)

    def log_hyperparams(self, params: Any) -> None:
        """Log a config."""
        with self._losing():
            super().log_hyperparams(params)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Send a checkpoint, where that is wanted."""
        with self._losing():
            super().after_save_checkpoint(checkpoint_callback)

    def finalize(self, status: str) -> None:
        """Send what waits for the end."""
        with self._losing():
            super().finalize(status)

    @contextmanager
    def _losing(self) -> Iterator[None]:
        """Take an error of W&B's process, connection or disk for a loss, and say so once.

        What a user can cause (a wrong key, a server that is out of reach from the start) is one
        only where a signal is ending W&B's process as well as the fit.
        """
        try:
            yield
        except Exception as error:
            is_ours = isinstance(error, wandb.Error) and not self.stopping()
            if is_ours or not _is_of_wandb(error):
                raise
            if not self._is_lost:
                say(f"W&B has ended ({_reason(error)}); the run goes on without it")
            self._is_lost = True


class _Nothing:
    """Stand-in for a run that is lost: each attribute and call gives itself."""

    def __getattr__(self, name: str) -> "_Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "_Nothing":
        return self


def outlive_service(logger: WandbLogger, stopping: Callable[[], bool]) -> None:
    """Let a fit go on where W&B can no longer be reached or written.

    Args:
        logger: The logger, of whatever class; it becomes one of a class that outlives W&B.
        stopping: Tells whether a signal has asked the fit to stop.
    """
    cls = type(logger)
    logger.__class__ = type(
        cls.__name__, (_LosableLogger, cls), {"stopping": staticmethod(stopping)}
    )


def finish_wandb(exit_code: int = 0) -> None:
    """Close the W&B run, if there is one; it may be unfinished, but never ends the process."""
    if wandb.run is None or wandb.run.id in _lost_runs:
        return
    try:
        if exit_code:
            wandb.run.mark_preempting()
        wandb.finish(exit_code=exit_code)
    except Exception as error:
        if not _is_of_wandb(error):
            raise
        say(f"W&B has ended ({_reason(error)}); `wandb sync` sends what it had written")
        _lost_runs.add(wandb.run.id)
        _forget_service()


def _forget_service() -> None:
    """Take back what W&B would do at the end of this process, and fail at."""
    try:
        wandb.teardown()
    except Exception as error:
        if not _is_of_wandb(error):
            raise


def _is_of_wandb(error: Exception) -> bool:
    """Tell the errors of W&B's process, connection and files from a mistake in a call."""
    return isinstance(error, OSError) or type(error).__module__.startswith("wandb.")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


@contextmanager
def _shown_command_line() -> Iterator[None]:
    """Let W&B, which stores the command line at its start, see it without its secrets."""
    words = sys.argv
    sys.argv = [words[0], *shown_words(words[1:])]
    try:
        yield
    finally:
        sys.argv = words
