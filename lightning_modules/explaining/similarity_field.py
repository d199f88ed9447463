"""SELFY: similarity read as motion, and what the block changes.

Kwon et al., ICCV 2021 (arXiv 2102.07092), section 3.1. Where a position of a frame is most like a
position of another one, there it went: the offset of greatest similarity is a displacement.

B clips, T frames, L temporal offsets, h and w cells of the block's own grid, U x V its window.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_modules.explaining.cam import in_evaluation
from models import SELFY
from models.self_similarity import self_similarity

__all__ = ["logits_without_block", "motion_field", "similarities"]


@torch.no_grad()
def similarities(network: SELFY, inputs: Sequence[Tensor]) -> Tensor:
    """Compute the similarities that the block is given.

    Args:
        network: The network.
        inputs: Normalized frames, (B, 3, T, H, W), the only one.

    Returns:
        S, (B, T, h, w, L, U, V) float32; see `models.self_similarity`.
    """
    seen: list[Tensor] = []
    block = network.selfy

    def keep(module: nn.Module, given: object, out: Tensor) -> None:
        seen.append(out)

    handle = block.reduce.register_forward_hook(keep)
    try:
        with in_evaluation(network):
            network(*inputs)
    finally:
        handle.remove()
    return self_similarity(seen[0], block.offsets, block.window, block.similarity)


def motion_field(volumes: Tensor) -> Tensor:
    """Find the offset of greatest similarity of each position.

    Of several equally great ones the shortest counts, so that where nothing is seen nothing moves.

    Args:
        volumes: Similarities (..., U, V).

    Returns:
        Displacements right and down in cells, (2, ...) float32.
    """
    window = volumes.shape[-1]
    steps = torch.arange(window, device=volumes.device) - window // 2
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    order = (down.square() + right.square()).flatten().argsort(stable=True)
    best = order[volumes.flatten(-2)[..., order].argmax(-1)]
    return torch.stack([right.flatten()[best], down.flatten()[best]]).float()


@torch.no_grad()
def logits_without_block(network: SELFY, inputs: Sequence[Tensor]) -> Tensor:
    """Compute the logits of a network whose blocks hand on what they are given, (B, K).

    Args:
        network: The network; it is not changed.
        inputs: See `similarities`.
    """

    def skip(module: nn.Module, given: tuple[Tensor], out: Tensor) -> Tensor:
        return given[0]

    handles = [block.register_forward_hook(skip) for block in network.blocks()]
    try:
        with in_evaluation(network):
            logits: Tensor = network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return logits
