"""Torchvision's ImageNet weights: fetched once, verified at every read, explained where absent."""

from pathlib import Path

import pytest
import torch
import torchvision.models
from imagenet_source import serve
from torch import Tensor

import models


@pytest.fixture(scope="module")
def resnet18() -> dict[str, Tensor]:
    """A torchvision state dict with weights unlike anything newly initialised."""
    torch.manual_seed(0)
    state_dict = torchvision.models.resnet18().state_dict()
    return {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in state_dict.items()}


def test_imagenet_weights_are_fetched_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resnet18: dict[str, Tensor]
) -> None:
    name = serve(monkeypatch, tmp_path, resnet18).name
    for _ in range(2):
        weights = models.imagenet_state_dict("resnet18")
        assert all(torch.equal(weights[key], resnet18[key]) for key in resnet18)
        (tmp_path / name).unlink(missing_ok=True)  # the second time there is no source
    assert [p.name for p in (tmp_path / "torch/hub/checkpoints").iterdir()] == [name]


def test_imagenet_weights_are_verified(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resnet18: dict[str, Tensor]
) -> None:
    name = serve(monkeypatch, tmp_path, resnet18, whole=False).name
    with pytest.raises(ValueError, match=r"could not be fetched from file:.*invalid hash value"):
        models.imagenet_state_dict("resnet18")
    assert list((tmp_path / "torch/hub/checkpoints").iterdir()) == []
    (tmp_path / name).rename(tmp_path / "torch/hub/checkpoints" / name)
    with pytest.raises(ValueError, match=f"{name} is damaged .*copy it again"):
        models.imagenet_state_dict("resnet18")


def test_unreachable_imagenet_weights_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(ValueError, match="init_from=imagenet needs resnet50-") as caught:
        models.imagenet_state_dict("resnet50")
    said = str(caught.value)
    assert f"(resnet50), which is not in {tmp_path / 'hub' / 'checkpoints'} and could" in said
    assert torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url in said
    assert "no route to host" in said
    assert "`kinetoscope prepare`" in said
    assert "--model.init_from FILE" in said
