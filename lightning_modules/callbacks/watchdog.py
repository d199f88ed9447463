"""Watchdog: a fit that hangs, or lost another rank, ends with a message and exit code 1."""

import faulthandler
import multiprocessing
import os
import re
import threading
import time
from typing import Any, NoReturn

from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules.errors import UserError
from lightning_modules.console import COMMAND

_LOST_RANK = re.compile(
    r"connection (was )?(likely )?(closed|reset)|broken pipe|timed out waiting|watchdog"
    r"|socket (has )?timed? ?out|wait timeout",
    re.IGNORECASE,
)
_LOST_WORKER = re.compile(r"DataLoader (timed out|worker \(pid)", re.IGNORECASE)


class Watchdog(Callback):
    """A callback that ends the process of a fit in which no batch begins or ends for too long.

    Whatever hangs, a decoder, a disk, another rank, the others would wait for it for ever. The
    process says what it was about to do and where each of its threads stands, and leaves.

    Args:
        minutes: How long a batch may take, its loading included.

    Raises:
        UserError: If `minutes` is not above 0.
    """

    def __init__(self, minutes: float = 30.0) -> None:
        if minutes <= 0:
            raise UserError(f"minutes={minutes} of the Watchdog is not possible; give more than 0")
        self.minutes = minutes
        self._doing = ""
        self._since = 0.0
        self._ended = threading.Event()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to watch."""
        self._watch(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to watch, where there was no sanity check."""
        self._watch(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop watching."""
        self._ended.set()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note that a batch was loaded."""
        self._note(trainer, "training on", batch_idx)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note that a batch is done."""
        self._note(trainer, "loading the batch after", batch_idx)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note that a batch was loaded."""
        self._note(trainer, "validating", batch_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note that a batch is done."""
        self._note(trainer, "loading the validation batch after", batch_idx)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Print the meaning of a library's error about other processes."""
        self._ended.set()
        sentence = explain(exception)
        if sentence is not None:
            _write(f"rank {trainer.global_rank}, {self._doing}: {sentence}")

    def _note(self, trainer: Trainer, doing: str, batch_idx: int) -> None:
        self._doing = f"{doing} batch {batch_idx} of epoch {trainer.current_epoch}"
        self._since = time.monotonic()

    def _watch(self, trainer: Trainer) -> None:
        self._doing, self._since = "loading the first batch", time.monotonic()
        self._ended.set()  # a thread of the sanity check
        self._ended = threading.Event()
        arguments = (self._ended, trainer.global_rank)
        threading.Thread(target=self._wait, args=arguments, name="watchdog", daemon=True).start()

    def _wait(self, ended: threading.Event, rank: int) -> None:
        limit = 60 * self.minutes
        while not ended.wait(max(0.01, self._since + limit - time.monotonic())):
            if time.monotonic() - self._since >= limit:
                self._end(rank)

    def _end(self, rank: int) -> NoReturn:
        _write(
            f"rank {rank} has been {self._doing} for {self.minutes:g} minutes and is given up: what"
            " hangs stands below (a batch that may take longer: give the trainer a Watchdog with"
            " more minutes)"
        )
        faulthandler.dump_traceback(file=2)
        for worker in multiprocessing.active_children():
            worker.kill()
        os._exit(1)


def explain(error: BaseException) -> str | None:
    """Explain an error of torch about another process; None for any other error."""
    text = str(error)
    if not isinstance(error, RuntimeError):
        return None
    if _LOST_WORKER.search(text):
        return (
            "a loader worker died or gave no clip in time: a video that hangs the decoder, a disk "
            "that does not answer, or memory that ran out (data.loading.worker_timeout, "
            "data.loading.num_workers, data.loading.batch_size)"
        )
    if _LOST_RANK.search(text):
        return (
            "another rank died or hangs, and this one waited for it in vain; its own output says "
            "why (how long to wait: the strategy's timeout)"
        )
    return None


def _write(text: str) -> None:
    os.write(2, f"\n{COMMAND}: {text}\n".encode())
