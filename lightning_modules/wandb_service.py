"""W&B's own process, which may end before the fit: a signal to a whole job reaches it, too."""

import threading
from collections.abc import Callable, Mapping

import wandb
from lightning.pytorch.loggers import WandbLogger

from lightning_modules.console import say

Metrics = Mapping[str, float]
_lost_runs: set[str] = set()


def outlive_service(logger: WandbLogger) -> None:
    """Let a fit go on where W&B can no longer be reached, and say so once.

    Args:
        logger: The logger; its `log_metrics`, which images and tables go through too, is replaced.
    """
    log: Callable[[Metrics, int | None], None] = logger.log_metrics
    lost = threading.Event()

    def log_metrics(metrics: Metrics, step: int | None = None) -> None:
        try:
            log(metrics, step)
        except ConnectionError as error:
            if not lost.is_set():
                say(f"W&B's process has ended ({error}); metrics.csv goes on without it")
            lost.set()

    logger.log_metrics = log_metrics  # type: ignore[method-assign]


def finish_wandb(exit_code: int = 0) -> None:
    """Close the W&B run, if there is one; it may be unfinished, but never ends the process."""
    if wandb.run is None or wandb.run.id in _lost_runs:
        return
    try:
        if exit_code:
            wandb.run.mark_preempting()
        wandb.finish(exit_code=exit_code)
    except ConnectionError as error:
        say(f"W&B's process has ended ({error}); `wandb sync` sends what it had written")
        _lost_runs.add(wandb.run.id)
        _forget_service()


def _forget_service() -> None:
    """Take back what W&B would do at the end of this process, and fail at."""
    try:
        wandb.teardown()
    except ConnectionError:
        return
