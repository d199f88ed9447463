"""From dataset files to batches: reading, decoding, sampling, transforms, LightningDataModules."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.base import VideoDataModule
    from datamodules.dataset import VideoBatch, VideoDataset
    from datamodules.decoding import VideoReader, open_video
    from datamodules.diving48 import Diving48DataModule
    from datamodules.fine_gym import FineGymDataModule
    from datamodules.frame_folders import FrameFolderReader
    from datamodules.hmdb51 import HMDB51DataModule
    from datamodules.kinetics import KineticsDataModule
    from datamodules.moments_in_time import MomentsInTimeDataModule
    from datamodules.motion_data import MotionShapesDataModule
    from datamodules.something_something import (
        SomethingSomethingV1DataModule,
        SomethingSomethingV2DataModule,
    )
    from datamodules.ucf101 import UCF101DataModule
    from datamodules.video_error import VideoError
    from datamodules.video_folder import VideoFolderDataModule

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

_MODULES = {
    "Diving48DataModule": "diving48",
    "FineGymDataModule": "fine_gym",
    "FrameFolderReader": "frame_folders",
    "HMDB51DataModule": "hmdb51",
    "KineticsDataModule": "kinetics",
    "MomentsInTimeDataModule": "moments_in_time",
    "MotionShapesDataModule": "motion_data",
    "SomethingSomethingV1DataModule": "something_something",
    "SomethingSomethingV2DataModule": "something_something",
    "UCF101DataModule": "ucf101",
    "VideoBatch": "dataset",
    "VideoDataModule": "base",
    "VideoDataset": "dataset",
    "VideoError": "video_error",
    "VideoFolderDataModule": "video_folder",
    "VideoReader": "decoding",
    "open_video": "decoding",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
