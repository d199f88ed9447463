"""MotionShapesDataModule: the generated dataset, made where it is not there yet."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from datamodules.annotations.class_files import read_class_list
from datamodules.annotations.listed_videos import ListedVideos
from datamodules.annotations.table import VideoTable
from datamodules.annotations.video_lists import read_video_list
from datamodules.augmentation.mirrors import ClassInfo
from datamodules.augmentation.pipeline import Augmentation, StandardAugmentation
from datamodules.base import Split, VideoDataModule
from datamodules.clips.clip_sampler import ClipSampler, FrameSampler
from datamodules.clips.crops import Crops
from datamodules.clips.figures import Figure, FigureSource
from datamodules.clips.input_spec import FlowSpec
from datamodules.errors import UserError
from datamodules.flow.coding import FlowCoding
from datamodules.flow.sources import BOUND, FlowInput, FlowReading, FlowSource
from datamodules.motion_shapes.generation import (
    MotionShapesSettings,
    draw_background_of,
    generate_motion_shapes,
    read_motion,
)
from datamodules.motion_shapes.motion import flow_from_motion
from datamodules.motion_shapes.rendering import CLASS_NAMES, Scene
from datamodules.video.errors import VideoError
from datamodules.video.frame_folder import Indices

MIRROR_PAIRS = (("move_left", "move_right"), ("turn_clockwise", "turn_anticlockwise"))
"""Classes that are each other's mirror image."""
METHOD = "rendered"
"""Method of the flow that is computed from the motion, not estimated."""


@dataclass(frozen=True)
class RenderedFlow:
    """The exact flow of MotionShapes, from the motion that is stored beside each video.

    Attributes:
        root: Folder of the dataset.
        spec: Stack and bound.
    """

    root: Path
    spec: FlowSpec

    @classmethod
    def of(cls, root: Path, flow: FlowInput, size: int) -> Self:
        """Make the flow of a dataset, coded as a user says.

        Raises:
            UserError: If another method or size is wanted.
        """
        for name, wanted, held in (
            ("method", flow.method, METHOD),
            ("short_side", flow.short_side, size),
        ):
            if wanted is not None and wanted != held:
                raise UserError(
                    f"data.flow.{name}={wanted} is not what is stored beside the videos of "
                    f"MotionShapes, {held}; leave it out, or give the folder of other flow as "
                    "data.flow.root"
                )
        return cls(root, FlowSpec(flow.length, METHOD, flow.bound or BOUND, size))

    def open(self, path: str, num_frames: int) -> FlowReading:
        """See `FlowSource.open`."""
        return _RenderedFields(self.root / path, self.spec.bound)

    def check(self, table: VideoTable) -> None:
        """Accept every table: motion is written with the videos."""


class _RenderedFields:
    """The exact flow of one video.

    Args:
        path: The video, its motion beside it.
        bound: Bound of the coding, in pixels.

    Raises:
        VideoError: Its motion cannot be read.
    """

    def __init__(self, path: Path, bound: float) -> None:
        try:
            mask, motion = read_motion(path)
        except (OSError, ValueError, KeyError) as error:
            raise VideoError(path, "unreadable", f"the motion beside it: {error}") from error
        self._codes = FlowCoding(bound).encode(flow_from_motion(motion, mask))

    def get_flow(self, indices: Indices) -> Tensor:
        """See `FlowReading.get_flow`."""
        return torch.from_numpy(self._codes[np.asarray(indices, np.int64)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: no file is open."""


@dataclass(frozen=True)
class RenderedFigures:
    """The shapes of MotionShapes: masks stored beside the videos, backgrounds drawn anew.

    Attributes:
        root: Folder of the dataset.
        settings: Settings that it was made with.
    """

    root: Path
    settings: MotionShapesSettings

    def read(self, path: str) -> Figure:
        """See `FigureSource.read`."""
        try:
            mask, _ = read_motion(self.root / path)
            scene = self.settings.scene
            if scene != Scene(speed=scene.speed, contrast=scene.contrast):
                return Figure(mask)  # what lies behind moves, or is noise
            return Figure(mask, draw_background_of(path, self.settings))
        except (OSError, ValueError, KeyError) as error:
            reason = f"the mask beside it: {error}"
            raise VideoError(self.root / path, "unreadable", reason) from error


class MotionShapesDataModule(VideoDataModule):
    """Generated videos of eight motions in four reversal pairs; only motion tells the classes.

    Its optical flow is, unless `flow` names a folder, the exact one, which follows from the motion
    stored beside each video: so two-stream networks need neither OpenCV nor another step, and what
    they reach does not depend on how well flow is estimated.

    Args:
        root: Folder to make the dataset in; one that holds it already is used as it is.
        num_train: Training clips to make.
        num_val: Validation clips to make.
        num_test: Test clips to make.
        data_seed: Seed of the clips that are made.
        video_frames: Frames of a clip that is made, over which the whole motion is spread.
        scene: What the motion is seen in: a look without single frames that tell anything, speed,
            contrast, noise, camera, distractors; null for the easiest.
        sampling: Choice of a clip's frames; null for 8 with stride 2.
        crops: Crops of the frames; a null `short_side` is `size`, so that nothing is cut off.
        augmentation: Changes of training clips; null for none.
        kwargs: Arguments of `VideoDataModule`.
    """

    def __init__(
        self,
        root: str = "data/motion_shapes",
        num_train: int = 2400,
        num_val: int = 400,
        num_test: int = 400,
        data_seed: int = 0,
        video_frames: int = 25,
        scene: Scene | None = None,
        sampling: FrameSampler | ClipSampler | None = None,
        crops: Crops = Crops(size=64),
        augmentation: StandardAugmentation | Augmentation | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            root=root,
            sampling=sampling or FrameSampler(num_frames=8, frame_stride=2),
            crops=replace(crops, short_side=crops.short_side or crops.size),
            augmentation=augmentation or StandardAugmentation(flip_probability=0.0),
            **kwargs,
        )
        self.settings = MotionShapesSettings(
            seed=data_seed,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            num_frames=video_frames,
            scene=scene or Scene(),
        )

    @cached_property
    def class_names(self) -> list[str]:
        """The eight motions."""
        return list(CLASS_NAMES)

    @property
    def edition(self) -> str:
        """Differences of its scene from the easiest, such as `look=noise speed=0.5`."""
        scene, easiest = vars(self.settings.scene), vars(Scene())
        return " ".join(f"{name}={v}" for name, v in scene.items() if v != easiest[name])

    @cached_property
    def class_info(self) -> ClassInfo:
        """The motions: each is the reversal of another, and four are mirror images."""
        pairs = list(zip(CLASS_NAMES[::2], CLASS_NAMES[1::2], strict=True))
        return ClassInfo(self.class_names, mirror_pairs=MIRROR_PAIRS, reverse_pairs=pairs)

    @cached_property
    def flow_source(self) -> FlowSource | None:
        """Flow in a folder of its own, or the exact one."""
        if self.flow is None or self.flow.root is not None:
            return super().flow_source
        scene = self.settings.scene
        if scene.look == "noise" or scene.distractors:
            raise UserError(
                "the exact flow of noise, or of distractors, is not known; make flow with "
                "`kinetoscope flow` and give its folder as data.flow.root"
            )
        return RenderedFlow.of(self.root, self.flow, self.settings.size)

    @property
    def figures(self) -> FigureSource:
        """The shapes, and what is behind them."""
        return RenderedFigures(self.root, self.settings)

    def prepare_data(self) -> None:
        """Make the dataset, or complete it; once, on the first process."""
        generate_motion_shapes(self.root, self.settings)

    def class_index(self) -> dict[str, int]:
        """Map classes as the lists write them, numbers, to labels."""
        classes = read_class_list(self.root / "lists" / "classes.txt")
        return {written: self.class_names.index(name) for written, name in classes.items()}

    def read_split(self, split: Split) -> ListedVideos:
        """Read the videos of a split."""
        return read_video_list(self.root / "lists" / f"{split}.txt")
