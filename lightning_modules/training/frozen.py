"""A trunk that stays as it is while the classifier learns: a linear probe."""

from typing import Literal

from datamodules.errors import UserError
from models import VideoNetwork

Frozen = Literal["none", "trunk"]


def freeze_trunk(network: VideoNetwork) -> None:
    """Take the gradients of all but the classifiers away, in place, and put it out of training.

    Args:
        network: The network.

    Raises:
        UserError: If no layer of a user's own network is known as its classifier.
    """
    if not network.classifiers:
        raise UserError(
            "model.frozen=trunk would leave nothing to learn: no linear layer of the network gives "
            "a value for each class; leave it out"
        )
    network.requires_grad_(False)
    for name in network.classifiers:
        network.get_submodule(name).requires_grad_(True)
    evaluate_trunk(network)


def evaluate_trunk(network: VideoNetwork) -> None:
    """Put all but the classifiers into evaluation mode: running statistics, no dropout."""
    network.eval()
    for name in network.classifiers:
        network.get_submodule(name).train()
