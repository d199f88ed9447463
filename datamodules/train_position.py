"""Where in the order of training clips a run is: what a resumed run goes on from."""

from dataclasses import dataclass

from lightning.pytorch import Trainer

from datamodules.errors import UserError

_MEANING = {
    "seed": "seed_everything",
    "global_batch": "devices x data.batch_size",
    "num_videos": "the training videos that are there",
}


@dataclass(frozen=True)
class TrainPosition:
    """A place in the order of training clips, and what that order depends on.

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


def place_of(trainer: Trainer, batches_in_loader: int) -> tuple[int, int]:
    """Epoch that a trainer is in or comes to next, and the batches of it that it is done with.

    Args:
        trainer: A trainer, within or between batches of a fit, or before it.
        batches_in_loader: Batches of a whole epoch; `limit_train_batches` may use fewer.
    """
    epochs = vars(trainer.fit_loop.epoch_progress.current)
    if epochs["started"] <= epochs["processed"]:
        return epochs["processed"], 0
    batches = trainer.fit_loop.epoch_loop.batch_progress
    done = batches_in_loader if batches.is_last_batch else vars(batches.current)["processed"]
    return epochs["processed"], done
