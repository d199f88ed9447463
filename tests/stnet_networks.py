"""StNets for tests: a tiny one that runs, whole ones whose shapes count, what fills their trunk."""

from collections.abc import Hashable
from functools import cache

import torch
from torch import Tensor

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


def check_trunk_fills(network: StNet, source: dict[str, Tensor], stem: str) -> None:
    """Load 2D weights: the stem is inflated, what is temporal is new, the rest loads as it is."""
    report = models.load_weights(network, source)

    assert report.inflated == [stem]
    assert sorted(report.skipped) == ["fc.bias", "fc.weight"]
    assert len(report.loaded) == len(source) - 3
    assert {name.split(".")[0] for name in report.new} == {
        "temporal_modeling",
        "temporal_xception",
        "fc",
    }
