"""Activation checkpointing: less memory for a second forward pass.

The activations inside the residual branch of a block are thrown away and computed again in the
backward pass (Chen et al., 2016, arXiv 1604.06174). The gradients are the same numbers, and so are
the running statistics of batch normalization, which see each batch once.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from models.resnet import ResidualBlock


def checkpoint_blocks(network: nn.Module) -> None:
    """Recompute the residual branch of each block in the backward pass, in place.

    Args:
        network: A network of residual blocks.

    Raises:
        ValueError: The network has no residual blocks.
    """
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    if not blocks:
        raise ValueError(
            f"checkpoint_activations is true, but {type(network).__name__} has no residual blocks "
            "to recompute; set it to false"
        )
    for block in blocks:
        recomputed = partial(_recompute_later, block, block.residual)
        block.residual = recomputed  # type: ignore[method-assign]


def _recompute_later(
    block: ResidualBlock, residual: Callable[[Tensor], Tensor], x: Tensor
) -> Tensor:
    """The residual branch; in training, what lies inside of it is not kept."""
    if not (block.training and torch.is_grad_enabled()):
        return residual(x)
    if torch.compiler.is_compiling():  # the graph takes side effects out of what it recomputes
        return checkpoint(residual, x, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(block)

    return checkpoint(residual, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def _statistics_kept(block: ResidualBlock) -> Iterator[None]:
    """Let batch normalization update copies of its running statistics."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers()]
    for norm, name, buffer in kept:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)
