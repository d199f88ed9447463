"""Numbers of a family's own operations that are worth a curve along a training."""

import torch
from torch import Tensor

from lightning_modules.dashboards.items import Item, Lines
from lightning_modules.explaining.streams import injected_motion
from lightning_modules.explaining.view_shares import VIEWS, ViewShares
from models import CoST, STResNet, VideoNetwork

__all__ = ["family_items"]


@torch.no_grad()
def family_items(network: VideoNetwork, inputs: tuple[Tensor, ...]) -> dict[str, Item]:
    """Measure a network's own operations on some clips.

    Args:
        network: The network, in evaluation mode.
        inputs: Of the network, (B, C, T, H, W) each.

    Returns:
        `val/view_shares` of CoST: the mean share of each view by layer (figure 8 of the paper);
        `val/injected_motion` of an ST-ResNet whose links lead into appearance: by stage, see
        `injected_motion`; none of others.
    """
    if isinstance(network, CoST):
        shares = ViewShares(network, 1)
        shares.add(inputs, torch.zeros(len(inputs[0]), dtype=torch.int64))
        by_layer = shares.by_layer  # (L, 3)
        lines = {view: by_layer[:, i].tolist() for i, view in enumerate(VIEWS)}
        return {"val/view_shares": Lines("layer", range(1, len(by_layer) + 1), lines)}
    if isinstance(network, STResNet) and network.takes_motion:
        by_stage = injected_motion(network, inputs).mean((0, 2))  # (stages,)
        points = range(1, len(by_stage) + 1)
        return {"val/injected_motion": Lines("stage", points, {"motion": by_stage.tolist()})}
    return {}
