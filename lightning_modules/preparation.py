"""What a module does to its network before any weights are loaded."""

from collections.abc import Mapping
from typing import Any

import torch

from models import VideoNetwork
from models.checkpointing import checkpoint_blocks
from models.norm import freeze_batch_norm, set_batch_norm_momentum, split_batch_norm


def prepare_network(network: VideoNetwork, arguments: Mapping[str, Any]) -> None:
    """Set a network up for training as a module's arguments say, in place.

    Args:
        network: A new network.
        arguments: `bn_momentum`, `bn_batch`, `frozen_bn` and `checkpoint_activations`, as
            `VideoClassifier` documents them.

    Raises:
        ValueError: If the network has nothing that an argument could apply to.
    """
    store_channels_last(network)
    if arguments["bn_momentum"] is not None:
        set_batch_norm_momentum(network, arguments["bn_momentum"])
    if arguments["bn_batch"] is not None:
        split_batch_norm(network, num_groups=1)  # each training step sets how many
    if arguments["frozen_bn"] != "none":
        freeze_batch_norm(network, keep_first=arguments["frozen_bn"] == "all_but_first")
    if arguments["checkpoint_activations"]:
        checkpoint_blocks(network)


def store_channels_last(network: VideoNetwork) -> None:
    """Lay the kernels out in memory as `VideoClassifier.inputs` does the clips."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
