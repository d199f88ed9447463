"""One LightningModule per family, the command line, callbacks and tools."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_modules.base import VideoClassifier
    from lightning_modules.baselines import BaselineModule
    from lightning_modules.checkpoints import open_checkpoint
    from lightning_modules.cost import CoSTModule
    from lightning_modules.selfy import SELFYModule
    from lightning_modules.st_resnet import STResNetModule
    from lightning_modules.stnet import StNetModule

__all__ = [
    "BaselineModule",
    "CoSTModule",
    "SELFYModule",
    "STResNetModule",
    "StNetModule",
    "VideoClassifier",
    "open_checkpoint",
]

_MODULES = {
    "BaselineModule": "baselines",
    "CoSTModule": "cost",
    "SELFYModule": "selfy",
    "STResNetModule": "st_resnet",
    "StNetModule": "stnet",
    "VideoClassifier": "base",
    "open_checkpoint": "checkpoints",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562); keeps `--help` free of torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
