"""Weights whose network had options that no shape shows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from grouped import network_of

from datamodules import DataSpec, UserError
from lightning_modules import (
    BaselineModule,
    CoSTModule,
    StNetModule,
    STResNetModule,
    VideoClassifier,
)
from lightning_modules.training.initialization import draw_classifiers, initialize
from models.adapted import AdaptedNetwork

CLASSES = ["a", "b"]


@pytest.mark.parametrize(
    ("family", "network", "trained", "asked", "hint"),
    [
        (CoSTModule, "cost_a_tiny", {"pools": "paper"}, {}, "pools paper"),
        (BaselineModule, "c2d_tiny", {}, {"pools": "paper"}, "pools released"),
        (
            StNetModule,
            "stnet_tiny",
            {"temporal_xception": False, "head_pool": "mean"},
            {"temporal_xception": False},
            "head_pool mean",
        ),
    ],
)
def test_pools_that_differ_are_refused_by_name(
    family: type[VideoClassifier],
    network: str,
    trained: dict[str, Any],
    asked: dict[str, Any],
    hint: str,
    tmp_path: Path,
) -> None:
    source = family(network, num_classes=2, **trained)
    parts = {"state_dict": source.state_dict(), "class_names": CLASSES}
    parts |= {"network": network_of(source), "protocol": {"dataset": "x"}}
    path = str(tmp_path / "x.ckpt")
    torch.save(parts, path)

    with pytest.raises(UserError, match=f"another {hint.split()[0]}, .* set --model.{hint}$"):
        initialize(family(network, num_classes=2, **asked).network, path, CLASSES, DataSpec())
    same = family(network, num_classes=2, **trained).network
    assert initialize(same, path, CLASSES, DataSpec()).new == []


@pytest.mark.parametrize(
    ("module", "network", "layers"),
    [
        (CoSTModule, "cost_a_tiny", ["fc"]),
        (StNetModule, "stnet_tiny", ["fc"]),
        (STResNetModule, "two_stream_tiny", ["rgb.fc", "flow.fc"]),
    ],
)
def test_first_weights_of_the_classifier_are_as_wide_as_asked(
    module: type[VideoClassifier], network: str, layers: list[str]
) -> None:
    """The gradient of the features is proportional to them: here it grows as they do."""
    torch.manual_seed(0)
    made = module(network, num_classes=300, classifier_std=0.1)
    own = module(network, num_classes=300)

    for name in layers:
        layer = made.network.get_submodule(name)
        assert layer.weight.detach().std().item() == pytest.approx(0.1, rel=0.05)
        assert layer.bias.abs().max().item() == 0
        assert own.network.get_submodule(name).weight.detach().std().item() < 0.09


def test_width_of_no_classifier_is_refused() -> None:
    with pytest.raises(UserError, match=r"classifier_std=-0.1 must be above 0; null"):
        CoSTModule("cost_a_tiny", num_classes=3, classifier_std=-0.1)
    with pytest.raises(UserError, match="no linear layer of the network gives a value for each"):
        draw_classifiers(AdaptedNetwork(torch.nn.Conv3d(3, 5, 3), 5), 0.1)
