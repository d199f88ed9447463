"""An exported graph held against the network itself, on real clips."""

from collections.abc import Callable

import torch
from torch import Tensor

from datamodules.errors import UserError
from lightning_modules.exporting.graphs import PixelNetwork, longer

LARGEST_ERROR = 1e-4
"""Largest difference of a logit that an exported file may have, in float32."""

Run = Callable[[tuple[Tensor, ...]], Tensor]


def check_graph(
    eager: PixelNetwork, run: Run, views: tuple[Tensor, ...], *, any_length: bool
) -> float:
    """Compare logits on a batch of clips, on one clip, and on longer clips where it takes them.

    Args:
        eager: The network as it was trained.
        run: The exported graph.
        views: Real clips and flow, (B, C, T, H, W) uint8.
        any_length: True if the graph takes clips of any length.

    Returns:
        The largest difference of a logit.

    Raises:
        UserError: If it is above `LARGEST_ERROR`.
    """
    cases = [views, tuple(view[:1] for view in views)]
    if any_length:
        cases.append(longer(views))
    errors = []
    with torch.inference_mode():
        for case in cases:
            errors.append(float((eager(*case) - run(case)).abs().max()))
    worst = max(errors)
    if not worst <= LARGEST_ERROR:  # NaN, too
        raise UserError(
            f"the exported graph gives logits that differ by {worst:.1e} from the network's, more "
            f"than {LARGEST_ERROR:.0e}; no file is kept: export from weights in float32, or report "
            "the network"
        )
    return worst
