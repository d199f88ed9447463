"""Weights whose network had options that no shape shows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from grouped import network_of

from datamodules import DataSpec, UserError
from lightning_modules import BaselineModule, CoSTModule, StNetModule, VideoClassifier
from lightning_modules.training.initialization import initialize

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
