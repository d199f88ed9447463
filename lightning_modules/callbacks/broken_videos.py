"""BrokenVideos: the videos that a fit could not read, counted against a limit."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from datamodules import VideoBatch, VideoDataModule
from datamodules.errors import UserError
from datamodules.video.quarantine import FILE_NAME, PASSING, Quarantine
from lightning_modules.console import say
from lightning_modules.ranks import gather_objects


class BrokenVideos(Callback):
    """A callback that names unreadable videos, and stops a training that meets too many.

    Each broken video is named once per rank. At the end of an epoch those that any rank met in
    training are counted, each once; a rank that alone passes the limit stops at once. Each wait for
    a disk or mount that failed is named and counted too; a video that could not be read for this
    reason alone counts no longer once it is read.

    In a run folder they are remembered in `quarantine.jsonl`, which a resumed run reads: see
    `Quarantine`. It is a record and saves time; deleting it changes no clip.

    Args:
        folder: The run folder; None where nothing is kept.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.reasons: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.waits = 0
        self._validated = torch.zeros(2)  # used and broken in this validation
        self._reported = ""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let all loader workers share one list of broken videos, before they start."""
        if self.folder is not None:
            _data_of(trainer).train_set.quarantine = Quarantine(self.folder / FILE_NAME)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the path of the list of broken videos, and how often was waited for the disk."""
        if self.waits:
            say(f"{self.waits} reads of videos were repeated after faults of their disk or mount")
        if self.folder is not None and (self.folder / FILE_NAME).exists():
            say(f"broken videos: {self.folder / FILE_NAME}")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._validated = torch.zeros(2, device=pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the videos, and name those that this validation leaves out."""
        self._tell_waits(batch)
        self._validated[0] += batch["valid"].sum()
        self._validated[1] += len(batch["broken"])
        for name, reason in batch["broken"]:
            if name not in self.left_out:
                say(f"broken video left out of validation: {name} ({reason})")
                self.left_out[name] = reason

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the number left out over all ranks, and print it where it is new."""
        total = trainer.strategy.reduce(self._validated, reduce_op="sum")
        pl_module.log("val/broken_videos", total[1], rank_zero_only=True)
        used, broken = map(int, total.tolist())
        listed, missing = len(_data_of(trainer).val_set), len(_data_of(trainer).val_set.missing)
        report = f"validated on {used} / {listed} videos ({missing} missing, {broken} broken)"
        is_new = used < listed and report != self._reported
        if not trainer.sanity_checking and (is_new or trainer.state.fn == "validate"):
            say(report)
            self._reported = report

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Name the waits; `ScoreFile` names the broken videos."""
        self._tell_waits(batch)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        """Remember the broken videos that were met while this batch was made, forget those read."""
        self._tell_waits(batch)
        for name in batch["video_id"]:
            if self.reasons.get(name) in PASSING:
                del self.reasons[name]
        new = {name: reason for name, reason in batch["broken"] if name not in self.reasons}
        for name, reason in new.items():
            say(f"broken video replaced in training: {name} ({reason})")
        if new:
            self.reasons |= new
            self._check(trainer, len(self.reasons))

    def _tell_waits(self, batch: VideoBatch) -> None:
        """Print and count the waits for a disk or mount that failed."""
        for sentence in batch["waits"]:
            say(sentence)
        self.waits += len(batch["waits"])

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the broken videos that all ranks met."""
        met = gather_objects(trainer, self.reasons)
        checkpoint["broken_videos"] = {name: why for part in met for name, why in part.items()}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the count of the interrupted run."""
        if trainer.state.fn == "fit":
            self.reasons = dict(checkpoint.get("broken_videos", {}))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count over the ranks and check against the limit."""
        count = _count_distinct(self.reasons, trainer, pl_module)
        pl_module.log("train/broken_videos", float(count), rank_zero_only=True)
        waits = torch.tensor(float(self.waits), device=pl_module.device)
        total = trainer.strategy.reduce(waits, reduce_op="sum")
        pl_module.log("train/repeated_reads", total, rank_zero_only=True)
        self._check(trainer, count)

    def _check(self, trainer: Trainer, count: int) -> None:
        data = _data_of(trainer)
        listed = len(data.train_set)
        if count > data.max_broken_fraction * listed:
            example = next(iter(self.reasons.items()), ("on another rank", "unknown"))
            raise UserError(
                f"{count} of {listed} training videos cannot be read (for instance {example[0]}: "
                f"{example[1]}), more than data.max_broken_fraction={data.max_broken_fraction:g}; "
                "repair or remove them, or raise that limit"
            )


def _data_of(trainer: Trainer) -> VideoDataModule:
    data: VideoDataModule = trainer.datamodule  # type: ignore[attr-defined]
    return data


def _count_distinct(names: Iterable[str], trainer: Trainer, pl_module: LightningModule) -> int:
    """Count the different names over all ranks."""
    digests = [hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() for name in names]
    mine = [int.from_bytes(digest[:7], "big") for digest in digests]
    length = torch.tensor(len(mine), device=pl_module.device)
    longest = int(trainer.strategy.reduce(length, reduce_op="max"))
    if longest == 0:
        return 0
    padded = torch.tensor([*mine, *[-1] * (longest - len(mine))], device=pl_module.device)
    gathered = pl_module.all_gather(padded)
    assert isinstance(gathered, Tensor)
    return len(set(gathered.flatten().tolist()) - {-1})
