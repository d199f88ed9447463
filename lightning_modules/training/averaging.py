"""Moving average of the weights, kept by Lightning's callback, for as long as a fit lasts."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging

from datamodules.errors import UserError


class AveragedWeights(EMAWeightAveraging):
    """A callback that averages weights and statistics each step, and validates the average.

    A checkpoint holds the average as its weights, and beside it what a resumed fit goes on with.
    Lightning's callback keeps its average after the fit, and would overwrite with it
    the weights that a later `validate` or `test` of the same trainer loads. It also takes the
    average and the trained weights for each other in a checkpoint that is written during a
    validation.

    Args:
        decay: Share of the average that a step keeps.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)
        self._exchanged = False  # the module holds the average, as in a validation

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the weights that the average begins with.

        Raises:
            UserError: If weights are kept in 16 bits, in which one step's share of an average is
                lost in rounding.
        """
        precision = trainer.precision
        mixed = precision.removesuffix("true") + "mixed"
        if stage == "fit" and precision in ("bf16-true", "16-true"):
            raise UserError(
                "model.optimization.ema_decay needs weights of 32 bits, and "
                f"trainer.precision={precision} keeps them in 16; set it to {mixed}, or leave "
                "ema_decay out"
            )
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow the weights to their device; begin with what `init_from` put there."""
        average = self._average_model
        assert average is not None
        average.to(pl_module.device)
        if not average.n_averaged:
            average.module.load_state_dict(pl_module.state_dict())

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average into the module."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._exchanged = self._average_model is not None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the trained weights back into the module."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._exchanged = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the average; the module has it by now."""
        self._average_model = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store both sets of weights, each under its own name at any moment of a fit."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._exchanged:
            average, trained = checkpoint["current_model_state"], checkpoint["state_dict"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = average, trained

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take both sets of weights up again, where a fit resumes."""
        if trainer.state.fn == "fit":
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
