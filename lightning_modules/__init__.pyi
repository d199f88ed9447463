from .base import VideoClassifier as VideoClassifier
from .baselines import BaselineModule as BaselineModule
from .callbacks.watchdog import Watchdog as Watchdog
from .checkpoints import open_checkpoint as open_checkpoint
from .cost import CoSTModule as CoSTModule
from .selfy import SELFYModule as SELFYModule
from .st_resnet import STResNetModule as STResNetModule
from .stnet import StNetModule as StNetModule
from .training.optim import BatchNorm as BatchNorm
from .training.optim import Optimization as Optimization

__all__ = [
    "BaselineModule",
    "BatchNorm",
    "CoSTModule",
    "Optimization",
    "SELFYModule",
    "STResNetModule",
    "StNetModule",
    "VideoClassifier",
    "Watchdog",
    "open_checkpoint",
]
