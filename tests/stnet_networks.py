"""StNets for tests: a tiny one that runs, and whole ones whose shapes count."""

from collections.abc import Hashable
from functools import cache

import torch

import models
from models.stnet import StNet


def build(**options: object) -> StNet:
    """A tiny StNet in evaluation mode."""
    network = models.get_model("stnet_tiny", 5, **options)
    assert isinstance(network, StNet)
    return network.eval()


@cache
def build_on_meta(name: str = "stnet_r50", **options: Hashable) -> StNet:
    """A StNet without data, for 400 classes; made once for each name and options."""
    with torch.device("meta"):
        network = models.get_model(name, 400, **options)
    assert isinstance(network, StNet)
    return network
