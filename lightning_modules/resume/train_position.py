"""Position of a run in the order of training clips, from which a resumed run goes on."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from lightning.pytorch import Trainer

from datamodules import VideoDataModule
from datamodules.errors import UserError

_MEANING = {
    "seed": "seed_everything",
    "global_batch": "devices x data.loading.batch_size",
    "num_videos": "the training videos that are there",
}


@dataclass(frozen=True)
class TrainPosition:
    """A position in the order of training clips, and the facts that decide the order.

    Attributes:
        epoch: Epoch that is trained next or goes on.
        batches: Batches of it that the trainer is done with; all of the loader's once it needs no
            more of them.
        seed: Seed of the order.
        global_batch: Clips of a batch over all devices.
        num_videos: Videos that the order is drawn from.
    """

    epoch: int = 0
    batches: int = 0
    seed: int = 0
    global_batch: int = 0
    num_videos: int = 0

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

    def go_on(self, data: VideoDataModule) -> None:
        """Let the training loader begin here.

        Raises:
            UserError: If the clips that are left would come in another order.
        """
        self.check_order(TrainPosition(**data.train_order()))
        data.go_on_at(self.epoch, self.batches)

    def check_order(self, now: "TrainPosition") -> None:
        """Check that a run which goes on from here sees the clips that are left, in their order.

        Between two epochs another seed or another number of videos does no harm.

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
