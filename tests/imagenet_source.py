"""A source of ImageNet weights on this machine."""

import hashlib
from pathlib import Path

import pytest
import torch
import torchvision.models
from torch import Tensor


def serve(
    monkeypatch: pytest.MonkeyPatch, folder: Path, weights: dict[str, Tensor], *, whole: bool = True
) -> Path:
    """Let resnet18's weights come from a file, named by its digest as torchvision's are."""
    made = folder / "weights.pth"
    torch.save(weights, made)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()[:8]
    path = made.rename(folder / f"resnet18-{digest}.pth")
    if not whole:
        path.write_bytes(path.read_bytes()[:-1])
    source = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.value
    monkeypatch.setattr(source, "url", path.as_uri())
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    return path
