"""Batch normalization in a training step: over which videos, and not against the settings."""

from torch import nn

from datamodules.errors import UserError
from lightning_modules.training.optim import BatchNorm
from models.norm import split_batch_norm


def divide_batch(network: nn.Module, num_videos: int, together: int) -> None:
    """Let a network's batch normalization take the videos of the next batch a few at a time.

    Args:
        network: The network.
        num_videos: Videos of the batch.
        together: Videos whose activations are normalised together.

    Raises:
        UserError: If the batch cannot be divided so.
    """
    if num_videos % together:
        raise UserError(
            f"a batch of {num_videos} videos cannot be divided into groups of "
            f"model.batch_norm.batch_size={together}; make data.loading.batch_size a multiple "
            "of it"
        )
    split_batch_norm(network, num_videos // together)


def refuse_sync_batch_norm(network: nn.Module, settings: BatchNorm) -> None:
    """Refuse layers that the trainer put in the place of those that the settings set up.

    Args:
        network: The network as the trainer prepared it.
        settings: Settings of its batch normalization.

    Raises:
        UserError: If it synchronizes statistics, and these settings freeze or divide them.
    """
    controlled = settings.frozen != "none" or settings.batch_size is not None
    if controlled and any(isinstance(m, nn.SyncBatchNorm) for m in network.modules()):
        raise UserError(
            "trainer.sync_batchnorm=true would undo model.batch_norm.frozen and "
            "model.batch_norm.batch_size; leave it false, or give neither"
        )
