"""Plain PyTorch networks for video action recognition; no Lightning, no files, no video.

The names below load on first use, so that `import models` does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.c2d import C2D
    from models.c3d import C3D, C3D3x3x3
    from models.complexity import count_macs, count_parameters
    from models.cost import CoST, CoSTA, CoSTB
    from models.layers import VideoNetwork
    from models.registry import get_model, list_models
    from models.selfy import SELFY, SELFYTSM, SELFYTSN
    from models.st_resnet import STResNet
    from models.stnet import StNet
    from models.tsm import TSM
    from models.tsn import TSN
    from models.two_stream import FlowStream, RGBStream, TwoStream
    from models.weights import WeightReport, imagenet_state_dict, load_weights

_MODULES = {
    "SELFY": "models.selfy",
    "SELFYTSM": "models.selfy",
    "SELFYTSN": "models.selfy",
    "StNet": "models.stnet",
    "STResNet": "models.st_resnet",
    "TwoStream": "models.two_stream",
    "RGBStream": "models.two_stream",
    "FlowStream": "models.two_stream",
    "C2D": "models.c2d",
    "C3D": "models.c3d",
    "C3D3x3x3": "models.c3d",
    "CoST": "models.cost",
    "CoSTA": "models.cost",
    "CoSTB": "models.cost",
    "TSM": "models.tsm",
    "TSN": "models.tsn",
    "VideoNetwork": "models.layers",
    "WeightReport": "models.weights",
    "count_macs": "models.complexity",
    "count_parameters": "models.complexity",
    "get_model": "models.registry",
    "imagenet_state_dict": "models.weights",
    "list_models": "models.registry",
    "load_weights": "models.weights",
}

__all__ = [
    "C2D",
    "C3D",
    "SELFY",
    "SELFYTSM",
    "SELFYTSN",
    "TSM",
    "TSN",
    "C3D3x3x3",
    "CoST",
    "CoSTA",
    "CoSTB",
    "FlowStream",
    "RGBStream",
    "STResNet",
    "StNet",
    "TwoStream",
    "VideoNetwork",
    "WeightReport",
    "count_macs",
    "count_parameters",
    "get_model",
    "imagenet_state_dict",
    "list_models",
    "load_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
