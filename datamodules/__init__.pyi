from .annotations.label_form import LabelForm as LabelForm
from .annotations.listed_videos import ListedVideo as ListedVideo
from .annotations.listed_videos import ListedVideos as ListedVideos
from .annotations.listed_videos import Split as Split
from .augmentation.mirrors import ClassInfo as ClassInfo
from .augmentation.pipeline import Augmentation as Augmentation
from .augmentation.pipeline import StandardAugmentation as StandardAugmentation
from .base import VideoDataModule as VideoDataModule
from .batch import VideoBatch as VideoBatch
from .clips.clip_sampler import ClipSampler as ClipSampler
from .clips.clip_sampler import FrameSampler as FrameSampler
from .clips.crops import Crops as Crops
from .clips.input_spec import FlowSpec as FlowSpec
from .clips.input_spec import InputSpec as InputSpec
from .clips.input_spec import Normalization as Normalization
from .data_spec import DataSpec as DataSpec
from .dataset import VideoDataset as VideoDataset
from .datasets.charades import CharadesDataModule as CharadesDataModule
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
from .errors import UserError as UserError
from .flow.reading import open_flow as open_flow
from .flow.sources import FlowInput as FlowInput
from .motion_shapes.rendering import Scene as Scene
from .randomness import BatchDraws as BatchDraws
from .settings import Evaluation as Evaluation
from .settings import Loading as Loading
from .streaming.live import LiveFrames as LiveFrames
from .video.errors import VideoError as VideoError
from .video.frame_folder import FrameFolderReader as FrameFolderReader
from .video.on_device.reader import DeviceReader as DeviceReader
from .video.reader import VideoReader as VideoReader
from .video.reader import open_video as open_video
