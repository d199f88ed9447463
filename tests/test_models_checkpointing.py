"""Activation checkpointing inside a captured graph, where the running statistics go another way."""

import torch
from torch import nn

from models.checkpointing import checkpoint_blocks
from models.resnet import BlockParts, Bottleneck


def test_captured_network_recomputes_with_the_same_gradients_and_statistics() -> None:
    torch.manual_seed(0)
    plain, ours = (nn.Sequential(Bottleneck(8, 4, 1, BlockParts())) for _ in range(2))
    ours.load_state_dict(plain.state_dict())
    checkpoint_blocks(ours)
    x = torch.randn(2, 8, 3, 6, 6)
    torch._dynamo.reset()
    captured = torch.compile(ours, fullgraph=True, backend="aot_eager")

    for network in (plain, captured):
        network(x).square().sum().backward()

    for (name, one), other in zip(plain.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=lambda text, n=name: f"{n}: {text}")
    for one, other in zip(plain.buffers(), ours.buffers(), strict=True):
        torch.testing.assert_close(one, other)
