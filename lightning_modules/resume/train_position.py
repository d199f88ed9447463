"""Position of a run in the order of training clips, from which a resumed run goes on."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from lightning.pytorch import Trainer
from torch import Tensor

from datamodules import VideoDataModule
from datamodules.errors import UserError
from lightning_modules.console import say

_MEANING = {
    "seed": "seed_everything",
    "global_batch": "videos of a batch (devices x data.loading.batch_size / repeated_views)",
    "videos": "the list of training videos",
    "shuffle": "the order of shards and blocks (data.loading.shuffle_block, and how it is packed)",
}


@dataclass(frozen=True)
class TrainPosition:
    """A position in the order of training clips, and the facts that decide the order.

    Attributes:
        epoch: Epoch that is trained next or goes on.
        batches: Batches of it that the trainer is done with; all of the loader's once it needs no
            more of them.
        seed: Seed of the order.
        global_batch: Videos of a batch over all devices.
        videos: The list of training videos: their number and a digest.
        shuffle: What a shuffle of two levels depends on beside them; empty for one of all videos.
    """

    epoch: int = 0
    batches: int = 0
    seed: int = 0
    global_batch: int = 0
    videos: str = ""
    shuffle: str = ""

    @classmethod
    def of(cls, trainer: Trainer, data: VideoDataModule) -> Self:
        """Return the position of a trainer, within or between batches of a fit, or before it.

        Args:
            trainer: The trainer.
            data: Its DataModule.
        """
        epochs = vars(trainer.fit_loop.epoch_progress.current)
        order = data.train_order()
        if epochs["started"] <= epochs["processed"]:
            return cls(epochs["processed"], 0, **order)
        progress = trainer.fit_loop.epoch_loop.batch_progress
        done = vars(progress.current)["processed"]
        if progress.is_last_batch:  # `limit_train_batches` may use fewer than the loader has
            done = data.data_spec().batches_per_epoch or done
        return cls(epochs["processed"], done, **order)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for the checkpoint."""
        return asdict(self)

    def go_on(self, data: VideoDataModule, absent: Tensor) -> None:
        """Let the training loader begin here.

        Args:
            data: The DataModule, set up.
            absent: Positions in the list of the files that the run did not find at its start, (M,).

        Raises:
            UserError: If the clips that are left would come in another order.
        """
        now = TrainPosition(**data.train_order())
        self.check_order(now)
        data.go_on_at(self.epoch, self.batches)
        if self.videos == now.videos:
            _tell_difference(set(absent.tolist()), set(data.train_set.table.absent.tolist()))
            data.go_on_without(absent.numpy())
        else:
            say(f"the list of training videos changed: {self.videos} -> {now.videos}")

    def check_order(self, now: "TrainPosition") -> None:
        """Check that a run which goes on from here sees the clips that are left, in their order.

        Between two epochs another seed or another list of videos does no harm.

        Args:
            now: The position of the new run, of which the order alone counts.

        Raises:
            UserError: If the order would differ.
        """
        names = list(_MEANING) if self.batches else ["global_batch"]
        changed = [name for name in names if getattr(self, name) != getattr(now, name)]
        if changed:
            listed = ", ".join(
                f"{_MEANING[name]} (was {getattr(self, name)}, now {getattr(now, name)})"
                for name in changed
            )
            raise UserError(
                f"the checkpoint was written after batch {self.batches} of epoch {self.epoch}, and "
                f"what decides about the clips that follow has changed: {listed}; take that back, "
                "or start a new run from the weights with --model.init_from"
            )


def _tell_difference(before: set[int], now: set[int]) -> None:
    """Say how many files vanished or came since the run began."""
    gone, found = len(now - before), len(before - now)
    if gone:
        say(f"{gone} training videos vanished since the run began: others take their places")
    if found:
        say(f"{found} training videos, missing when the run began, are there: it goes on without")
