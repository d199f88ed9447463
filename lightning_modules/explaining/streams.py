"""ST-ResNet: how much motion enters the appearance stream, stage by stage.

Feichtenhofer, Pinz, Wildes, NIPS 2016 (arXiv 1611.02155), equation 2: in each stage the motion
stream is joined with what the second block's residual branch of appearance is given.

B clips, C channels, T chunks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_modules.explaining.cam import in_evaluation
from models import STResNet

__all__ = ["injected_motion"]


@torch.no_grad()
def injected_motion(network: STResNet, inputs: Sequence[Tensor]) -> Tensor:
    """Measure what the connection changes, against the appearance that it is joined with.

    Args:
        network: The network.
        inputs: Normalized frames (B, 3, T, H, W) and flow (B, 2L, T, H, W).

    Returns:
        |joined - appearance| / |appearance| of each stage and chunk, with Euclidean norms over
        channels and places, (B, stages, T). 0 is none, 1 as much motion as appearance.
    """
    rgb = network.streams()[0]
    # what motion is joined with: the sum of the first block, or what its ReLU leaves of it
    sums = network.takes_motion and network.links != "direct" and not network.rectified
    stages = range(1, rgb.num_stages + 1)
    alone: dict[int, Tensor] = {}
    joined: dict[int, Tensor] = {}
    handles = []
    for stage in stages:
        first, second = rgb.stage_blocks(stage)[:2]

        def raw(
            module: nn.Module, given: tuple[Tensor], out: Tensor, stage: int = stage
        ) -> None:  # the last call of the block's ReLU is the one behind the addition
            alone[stage] = given[0] if sums else out

        def entered(module: nn.Module, given: tuple[Tensor], stage: int = stage) -> None:
            joined[stage] = given[0]

        handles.append(first.relu.register_forward_hook(raw))
        handles.append(second.before_conv1.register_forward_pre_hook(entered))
    try:
        with in_evaluation(network):
            network(*inputs)
    finally:
        for handle in handles:
            handle.remove()

    def norm(x: Tensor) -> Tensor:
        return x.float().square().sum((1, 3, 4)).sqrt()  # (B, T)

    sizes = [norm(joined[s] - alone[s]) / norm(alone[s]).clamp(min=1e-12) for s in stages]
    return torch.stack(sizes, dim=1)
