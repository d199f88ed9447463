from .c2d import C2D as C2D
from .c3d import C3D as C3D
from .c3d import C3D3x3x3 as C3D3x3x3
from .complexity import count_macs as count_macs
from .complexity import count_parameters as count_parameters
from .cost import CoST as CoST
from .cost import CoSTA as CoSTA
from .cost import CoSTB as CoSTB
from .layers import VideoNetwork as VideoNetwork
from .registry import get_model as get_model
from .registry import list_models as list_models
from .selfy import SELFY as SELFY
from .selfy import SELFYTSM as SELFYTSM
from .selfy import SELFYTSN as SELFYTSN
from .st_resnet import STResNet as STResNet
from .stnet import StNet as StNet
from .tsm import TSM as TSM
from .tsn import TSN as TSN
from .two_stream import FlowStream as FlowStream
from .two_stream import RGBStream as RGBStream
from .two_stream import TwoStream as TwoStream
from .weights import WeightReport as WeightReport
from .weights import imagenet_state_dict as imagenet_state_dict
from .weights import load_weights as load_weights

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
