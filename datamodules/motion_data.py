"""MotionShapesDataModule: the generated dataset, made where it is not there yet."""

from functools import cached_property
from typing import Any

from datamodules.annotations import read_video_list
from datamodules.base import Split, VideoDataModule
from datamodules.class_files import read_class_list
from datamodules.listed_videos import ListedVideos
from datamodules.motion_rendering import CLASS_NAMES
from datamodules.motion_shapes import MotionShapesSettings, generate_motion_shapes


class MotionShapesDataModule(VideoDataModule):
    """Generated videos of eight motions in four reversal pairs; only motion tells the classes.

    Args:
        root: Folder to make the dataset in; one that holds it already is used as it is.
        num_train: Training clips to make.
        num_val: Validation clips to make.
        num_test: Test clips to make.
        data_seed: Seed of the clips that are made.
        num_frames: Frames of a clip.
        frame_stride: Distance between the frames of a clip.
        size: Side of the videos and of the crops, in pixels.
        short_side: Short side that frames are resized to, in pixels; null for `size`: no cropping.
        flip_probability: Share of training clips that are mirrored; classes are renamed then.
        kwargs: Arguments of `VideoDataModule`.
    """

    def __init__(
        self,
        root: str = "data/motion_shapes",
        num_train: int = 2400,
        num_val: int = 400,
        num_test: int = 400,
        data_seed: int = 0,
        num_frames: int | None = 8,
        frame_stride: int | None = 2,
        size: int = 64,
        short_side: int | None = None,
        flip_probability: float = 0.0,
        **kwargs: Any,
    ) -> None:
        mirrored = [("move_left", "move_right"), ("turn_clockwise", "turn_anticlockwise")]
        super().__init__(
            root=root,
            num_frames=num_frames,
            frame_stride=frame_stride,
            size=size,
            short_side=short_side or size,
            flip_probability=flip_probability,
            flip_pairs=mirrored,
            **kwargs,
        )
        self.settings = MotionShapesSettings(
            seed=data_seed, num_train=num_train, num_val=num_val, num_test=num_test
        )

    @cached_property
    def class_names(self) -> list[str]:
        """The eight motions."""
        return list(CLASS_NAMES)

    def prepare_data(self) -> None:
        """Make the dataset, or complete it; once, on the first process."""
        generate_motion_shapes(self.root, self.settings)

    def class_index(self) -> dict[str, int]:
        """Class as the lists write it, a number -> label."""
        classes = read_class_list(self.root / "lists" / "classes.txt")
        return {written: self.class_names.index(name) for written, name in classes.items()}

    def read_split(self, split: Split) -> ListedVideos:
        """The videos of a split."""
        return read_video_list(self.root / "lists" / f"{split}.txt")
