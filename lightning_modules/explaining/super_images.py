"""StNet: which super-image the maximum over time takes.

He et al., AAAI 2019 (arXiv 1811.01549). Behind the last convolution over time each channel keeps
its largest value alone, of one super-image.

B clips, C channels, S super-images.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.explaining.cam import in_evaluation
from models.stnet import SuperImageNetwork

__all__ = ["channels_won"]


@torch.no_grad()
def channels_won(network: SuperImageNetwork, inputs: Sequence[Tensor]) -> Tensor:
    """Count the channels whose largest value each super-image has.

    A channel that is 0 everywhere is won by none.

    Args:
        network: The network.
        inputs: Normalized frames, (B, 3, T, H, W), the only one.

    Returns:
        Shares of the channels, (B, S); their sum is below 1 where channels are silent.
    """
    with in_evaluation(network):
        vectors = network.forward_features(*inputs).mean((3, 4))  # (B, C, S)
    largest, winner = vectors.max(2)
    won = torch.nn.functional.one_hot(winner, vectors.shape[2]) * (largest != 0)[..., None]
    return won.float().mean(1)
