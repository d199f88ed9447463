"""From dataset files to batches: reading, decoding, sampling, transforms, LightningDataModules."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.base import VideoDataModule
    from datamodules.batch import VideoBatch
    from datamodules.dataset import VideoDataset
    from datamodules.datasets.diving48 import Diving48DataModule
    from datamodules.datasets.fine_gym import FineGymDataModule
    from datamodules.datasets.hmdb51 import HMDB51DataModule
    from datamodules.datasets.kinetics import KineticsDataModule
    from datamodules.datasets.moments_in_time import MomentsInTimeDataModule
    from datamodules.datasets.motion_shapes import MotionShapesDataModule
    from datamodules.datasets.something_something import (
        SomethingSomethingV1DataModule,
        SomethingSomethingV2DataModule,
    )
    from datamodules.datasets.ucf101 import UCF101DataModule
    from datamodules.datasets.video_folder import VideoFolderDataModule
    from datamodules.video.errors import VideoError
    from datamodules.video.frame_folder import FrameFolderReader
    from datamodules.video.reader import VideoReader, open_video

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
    "Diving48DataModule": "datasets.diving48",
    "FineGymDataModule": "datasets.fine_gym",
    "FrameFolderReader": "video.frame_folder",
    "HMDB51DataModule": "datasets.hmdb51",
    "KineticsDataModule": "datasets.kinetics",
    "MomentsInTimeDataModule": "datasets.moments_in_time",
    "MotionShapesDataModule": "datasets.motion_shapes",
    "SomethingSomethingV1DataModule": "datasets.something_something",
    "SomethingSomethingV2DataModule": "datasets.something_something",
    "UCF101DataModule": "datasets.ucf101",
    "VideoBatch": "batch",
    "VideoDataModule": "base",
    "VideoDataset": "dataset",
    "VideoError": "video.errors",
    "VideoFolderDataModule": "datasets.video_folder",
    "VideoReader": "video.reader",
    "open_video": "video.reader",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
