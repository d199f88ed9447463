from .base import VideoClassifier as VideoClassifier
from .baselines import BaselineModule as BaselineModule
from .checkpoints import open_checkpoint as open_checkpoint
from .cost import CoSTModule as CoSTModule
from .selfy import SELFYModule as SELFYModule
from .st_resnet import STResNetModule as STResNetModule
from .stnet import StNetModule as StNetModule

__all__ = [
    "BaselineModule",
    "CoSTModule",
    "SELFYModule",
    "STResNetModule",
    "StNetModule",
    "VideoClassifier",
    "open_checkpoint",
]
