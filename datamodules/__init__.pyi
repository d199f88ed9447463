from .base import VideoDataModule as VideoDataModule
from .batch import VideoBatch as VideoBatch
from .dataset import VideoDataset as VideoDataset
from .datasets.diving48 import Diving48DataModule as Diving48DataModule
from .datasets.fine_gym import FineGymDataModule as FineGymDataModule
from .datasets.hmdb51 import HMDB51DataModule as HMDB51DataModule
from .datasets.kinetics import KineticsDataModule as KineticsDataModule
from .datasets.moments_in_time import MomentsInTimeDataModule as MomentsInTimeDataModule
from .datasets.motion_shapes import MotionShapesDataModule as MotionShapesDataModule
from .datasets.something_something import (
    SomethingSomethingV1DataModule as SomethingSomethingV1DataModule,
)
from .datasets.something_something import (
    SomethingSomethingV2DataModule as SomethingSomethingV2DataModule,
)
from .datasets.ucf101 import UCF101DataModule as UCF101DataModule
from .datasets.video_folder import VideoFolderDataModule as VideoFolderDataModule
from .video.errors import VideoError as VideoError
from .video.frame_folder import FrameFolderReader as FrameFolderReader
from .video.reader import VideoReader as VideoReader
from .video.reader import open_video as open_video

__all__ = [
    "Diving48DataModule",
    "FineGymDataModule",
    "FrameFolderReader",
    "HMDB51DataModule",
    "KineticsDataModule",
    "MomentsInTimeDataModule",
    "MotionShapesDataModule",
    "SomethingSomethingV1DataModule",
    "SomethingSomethingV2DataModule",
    "UCF101DataModule",
    "VideoBatch",
    "VideoDataModule",
    "VideoDataset",
    "VideoError",
    "VideoFolderDataModule",
    "VideoReader",
    "open_video",
]
