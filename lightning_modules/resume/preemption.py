"""Stop of a fit on a signal: at a step boundary, saved, on all ranks alike."""

import threading
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import ParallelStrategy
from torch.distributed import ReduceOp, all_reduce

from lightning_modules.console import say
from lightning_modules.resume import slurm
from lightning_modules.resume.last_checkpoint import save_now
from lightning_modules.resume.stop_signals import STOPPED, StopSignals
from lightning_modules.runs.wandb_runs import finish_wandb

_SECONDS_FOR_WANDB = 20


class Stopped(SystemExit):
    """End of the process of a fit that was asked to stop, with the exit code of the request."""


class Preemption(Checkpoint):
    """Saving, requeue under Slurm and exit of a fit, once any rank got a signal.

    Looked is after each training batch, each batch of a validation and of the sanity check. Several
    ranks tell each other after each batch, and act on it after the next, so that none waits for its
    device. They save the same optimizer step; where gradients wait for the optimizer, they go on
    until it has made its step. A validation that is broken off begins anew in the resumed run.

    It is a `Checkpoint` so that it comes after the callbacks that a step is not complete without.

    Args:
        stop: The signals of this process.
    """

    def __init__(self, stop: StopSignals) -> None:
        self.stop = stop
        self._told: _Told | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep Lightning from replacing the handlers of `StopSignals` by its own.

        They talk to the other ranks from within the handler, wherever those are, and end a run
        that lost work with exit code 0.
        """
        connector = trainer._signal_connector
        assert hasattr(connector, "register_signal_handlers"), (
            "Lightning would put its signal handlers in the place of ours: what registers them has "
            "another name"
        )
        connector.register_signal_handlers = _nothing  # type: ignore[method-assign]

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at Ctrl-C, too, after each batch from here on."""
        self._begin()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at Ctrl-C, too, after each batch from here on."""
        self._begin()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let Ctrl-C break off the rest, as all is saved."""
        self.stop.deferring = False

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look after each training batch."""
        self._look(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look after each batch of a validation, and of the sanity check."""
        self._look(trainer)

    def _begin(self) -> None:
        self.stop.starting = False
        self.stop.deferring = True

    def _look(self, trainer: Trainer) -> None:
        """Leave if a rank was asked to and the step can be saved."""
        code = self.stop.code
        if trainer.world_size > 1:
            before, self._told = self._told, _Told(code, trainer.strategy.root_device)
            code = 0 if before is None else before.highest()
        if code:
            self.stop.holding = True
            if save_now(trainer):
                self._leave(trainer, code)
            self.stop.holding = False

    def _leave(self, trainer: Trainer, code: int) -> None:
        """Have the job requeued, finish the logs, and end all ranks together."""
        say(f"stopped and saved at step {trainer.global_step}; go on with --ckpt_path last")
        if trainer.is_global_zero:
            # before the requeue, with which Slurm begins to end every process of the job; in a
            # bounded time, as W&B's server may be out of reach
            finish = threading.Thread(target=finish_wandb, args=(code,), daemon=True)
            finish.start()
            finish.join(_SECONDS_FOR_WANDB)
            job = slurm.job_id()
            if job is not None and code == STOPPED:
                say(slurm.requeue(job))
        trainer.strategy.barrier("stopped")
        raise Stopped(0 if _is_child_of_another_rank(trainer) else code)


class _Told:
    """The highest of what all ranks say, on its way to this process.

    Args:
        code: What this rank says.
        device: Where the ranks meet.
    """

    def __init__(self, code: int, device: torch.device) -> None:
        told = torch.tensor(code, device=device)
        all_reduce(told, ReduceOp.MAX)
        self._code = told.to("cpu", non_blocking=True)
        self._arrived = torch.Event(device) if device.type != "cpu" else None
        if self._arrived is not None:
            self._arrived.record()

    def highest(self) -> int:
        """Return it, once it has arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return int(self._code)


def _nothing() -> None:
    """Register no handler."""


def _is_child_of_another_rank(trainer: Trainer) -> bool:
    """Return True if Lightning started this rank; it kills rank 0 when another exits with a code.

    The code of the whole is the first rank's.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, ParallelStrategy):
        return False
    by_lightning = isinstance(strategy.cluster_environment, LightningEnvironment)
    return by_lightning and trainer.local_rank > 0
