"""VideoDataModule: settings, splits and device-side augmentation, the same for every dataset."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules.annotations.folder_index import FolderIndex
from datamodules.annotations.listed_videos import ListedVideo, ListedVideos
from datamodules.annotations.splits import (
    Split,
    check_classes_kept,
    check_disjoint,
    held_out_groups,
    report_counts,
    report_missing,
    without_collector,
)
from datamodules.annotations.table import make_table, write_missing
from datamodules.augmentation.functional import ColorJitter
from datamodules.augmentation.mixing import Mixing
from datamodules.augmentation.pipeline import DeviceTransforms
from datamodules.batch import VideoBatch
from datamodules.clips.crops import NumCrops, SpatialTransform, TrainCrop
from datamodules.clips.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from datamodules.clips.probes import Probe
from datamodules.clips.sampling import FrameSampler
from datamodules.dataset import VideoDataset
from datamodules.editions import Edition
from datamodules.errors import UserError
from datamodules.flow.sources import FlowInput, FlowSource, StoredFlow
from datamodules.loaders import VideoLoaders
from datamodules.remarks import Remarks
from datamodules.train_position import TrainPosition

__all__ = ["Split", "VideoDataModule"]


class VideoDataModule(Edition, VideoLoaders, ABC):
    """Base of every dataset: give `class_names` and `read_split`, the rest is here.

    All randomness is a function of (seed, epoch, index): the same clips come out whatever the
    number of workers or devices.

    Args:
        root: Folder of the dataset.
        num_frames: Frames of a clip. With `frame_stride` they are dense, without it they are spread
            over the whole video.
        frame_stride: Distance between the frames of a dense clip.
        num_segments: Instead of `num_frames`: segments of the video that give a frame each.
        frames_per_segment: Consecutive frames out of each segment (StNet's super-images).
        max_frame_stride: Upper end of the range from `frame_stride` that training draws the
            distance between frames from.
        test_frames: Frames of an evaluation's clip, evenly spread over the whole video; null for
            those of a training clip.
        size: Side of a training crop, in pixels.
        short_side: Short side that frames are resized to before they are cropped, in pixels; null
            for 8/7 of `size` (256 for 224).
        max_short_side: Upper end of the random short side in training; null for no jitter.
        test_size: Side of an evaluation crop; null for `size`.
        aspect: Width over height that frames are forced to; null keeps theirs.
        train_crop: Kind of training crop.
        flip_probability: Share of training clips that are mirrored.
        flip_exempt: Classes that are never mirrored.
        flip_pairs: Pairs of classes that are each other's mirror image.
        color: Strength of brightness, contrast and saturation jitter; a quarter of it for hue.
        mixup_alpha: Strength of mixup, which adds pairs of training clips; 0 for none, 0.2 to 0.8
            is usual.
        cutmix_alpha: Strength of cutmix, which pastes a box of one training clip into another; 0
            for none, 1 is usual. With both, each clip is mixed one way or the other.
        mean: Mean of each colour channel on the scale [0, 1].
        std: Standard deviation of each colour channel on that scale.
        batch_size: Clips per device in training; an evaluation takes as many views at a time.
        num_workers: Loader processes per device.
        worker_timeout: Seconds that a loader process may take for a batch before the run stops;
            0 for no limit.
        num_clips: Clips per video in `test`.
        num_crops: Crops per clip in `test`: 1, 2, 3, 10 (2 and 10 with mirror images), `full` for
            the whole frame, `full_flip` for that and its mirror image.
        flow: Optical flow beside the frames, for two-stream networks; null for none.
        probe: What an evaluation changes in its clips, to see what a network relies on: `shuffled`,
            `reversed`, `frozen`, `sparse(2)`, `frame_drops(0.25)`, `occlusion(0.25)`,
            `motion_blur(0.05)` or `recompression(10)`; null for nothing. Not in a fit.
        val_fraction: Share of each class's training videos, at least one of two, that is held out
            where there is no validation list; groups of several videos are held out whole.
        allow_missing: Whether to set up even when no listed file is there.
        max_broken_fraction: Share of the listed training videos that may turn out unreadable
            before the run stops.
        seed: Seed of every random choice; linked to `seed_everything` on the command line.

    Raises:
        UserError: If arguments do not fit together.
    """

    def __init__(
        self,
        root: str,
        num_frames: int | None = None,
        frame_stride: int | None = None,
        num_segments: int | None = None,
        frames_per_segment: int = 1,
        max_frame_stride: int | None = None,
        test_frames: int | None = None,
        size: int = 224,
        short_side: int | None = None,
        max_short_side: int | None = None,
        test_size: int | None = None,
        aspect: float | None = None,
        train_crop: TrainCrop = "short_side",
        flip_probability: float = 0.5,
        flip_exempt: Sequence[str] = (),
        flip_pairs: Sequence[tuple[str, str]] = (),
        color: float = 0.0,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        batch_size: int = 8,
        num_workers: int = 2,
        worker_timeout: float = 600.0,
        num_clips: int = 1,
        num_crops: NumCrops = 1,
        flow: FlowInput | None = None,
        probe: str | None = None,
        val_fraction: float = 0.1,
        allow_missing: bool = False,
        max_broken_fraction: float = 0.005,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_range("val_fraction", val_fraction, 0, 0.9)
        _check_range("max_broken_fraction", max_broken_fraction, 0, 1)
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("worker_timeout", worker_timeout, 0),
            ("num_clips", num_clips, 1),
        ):
            if value < least:
                raise UserError(f"data.{name}={value} is too small; give at least {least}")
        self.root = Path(root)
        self.spec = InputSpec(
            FrameSampler(
                num_frames,
                frame_stride,
                num_segments,
                frames_per_segment,
                max_frame_stride,
                test_frames,
            ),
            SpatialTransform(
                size=size,
                short_side=short_side or round(size * 8 / 7),
                train_crop=train_crop,
                max_short_side=max_short_side,
                test_size=test_size,
                aspect=aspect,
            ),
            tuple(mean),
            tuple(std),
        )
        self.on_device = DeviceTransforms(
            mean,
            std,
            flip_probability,
            list(flip_exempt),
            [(first, second) for first, second in flip_pairs],
            ColorJitter(color, color, color, color / 4) if color else None,
            Mixing(mixup_alpha, cutmix_alpha),
            seed,
        )
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.worker_timeout = worker_timeout
        self.num_clips = num_clips
        self.num_crops: NumCrops = num_crops
        self.flow = flow
        self.spec.sampling.test(1, num_clips)  # refuses what does not go together
        self.spec.transform.check_crops(num_crops)
        self.probe = None if probe is None else Probe.parse(probe)
        if self.probe is not None and flow is not None:
            raise UserError(
                f"data.probe={self.probe} changes frames, and data.flow is that of the unchanged "
                "video; leave one of them out"
            )
        if self.probe is not None:
            self.probe.check_clip(self.spec.sampling.test_len, with_flow=flow is not None)
        self.val_fraction = val_fraction
        self.allow_missing = allow_missing
        self.max_broken_fraction = max_broken_fraction
        self.seed = seed
        self.resumed = TrainPosition()
        self.remarks = Remarks()

    @cached_property
    @abstractmethod
    def class_names(self) -> list[str]:
        """Names of the classes in label order; known before any video is looked at."""

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)

    @cached_property
    def flow_source(self) -> FlowSource | None:
        """Where optical flow comes from; None without.

        Raises:
            UserError: If there is none, or nothing says how it was made.
        """
        return None if self.flow is None else StoredFlow.of(self.flow)

    @abstractmethod
    def read_split(self, split: Split) -> ListedVideos | None:
        """The listed videos of a split, or None where the dataset has no such list."""

    def class_index(self) -> dict[str, int]:
        """Class as the annotation writes it -> label."""
        return {name: label for label, name in enumerate(self.class_names)}

    def official_counts(self) -> dict[Split, int]:
        """Videos in the official lists of the chosen version, where they are known.

        A validation part that is held out of the training list counts as training.
        """
        return {}

    @cached_property
    def files(self) -> FolderIndex:
        """What lies below the root; looked at while the splits are read."""
        return FolderIndex(self.root)

    def group_of(self, video: ListedVideo) -> str:
        """What must not be divided between train and val: by default each video by itself."""
        return video.video_id

    def input_spec(self) -> dict[str, Any]:
        """Plain description of the clips, for the checkpoint."""
        source = self.flow_source
        return replace(self.spec, flow=None if source is None else source.spec).as_dict()

    def setup(self, stage: str | None = None) -> None:
        """Read all three splits.

        Raises:
            UserError: If the root is missing, none of the listed files is there, a video is in
                training and in another split, a flipped class is unknown, or a fit is to be probed.
        """
        if stage == "fit" and self.probe is not None:
            raise UserError(
                f"data.probe={self.probe} changes the clips of an evaluation and would mislead a "
                "fit; leave it out, and give it to `kinetoscope test`"
            )
        if hasattr(self, "train_set"):
            return
        if not self.root.is_dir():
            raise UserError(
                f"there is no dataset folder {self.root}; set data.root to where the videos are"
            )
        if self.on_device.named_classes:
            self.on_device.check_classes(self.class_names)
        with without_collector():
            self._read_splits()
        del self.files  # a million names that no forked worker should carry

    def _read_splits(self) -> None:
        train = self._listed("train") or ListedVideos([], [])
        val, test = self._listed("val"), self._listed("test")
        lists: dict[Split, ListedVideos | None] = {"train": train, "val": val, "test": test}
        report_counts(lists, self.official_counts(), self.remarks)
        held_out, own_test = val is None, test is not None
        if val is None:
            train, val = self._hold_out(train)
        if not val:
            sentence = "no validation split: nothing is validated, no best checkpoint is kept"
            self.remarks.add("splits", sentence)
        if test is None:
            self.remarks.add("splits", "no test split: the validation videos are the test set")
            test = val
        check_disjoint("val", val.video_ids, [train.video_ids])
        if own_test:
            fitted = [train.video_ids, val.video_ids] if held_out else [train.video_ids]
            check_disjoint("test", test.video_ids, fitted)
        self.train_set = self._dataset("train", train)
        self.val_set = self._dataset("val", val)
        self.test_set = self._dataset("test", test)

    def _listed(self, split: Split) -> ListedVideos | None:
        videos = self.read_split(split)
        return None if videos is None else videos.inside(self.root)

    def _hold_out(self, train: ListedVideos) -> tuple[ListedVideos, ListedVideos]:
        """Divide train into train and val, as a function of the seed."""
        if self.val_fraction == 0 or not train:
            return train, train.take(np.array([], np.int64))
        groups = [self.group_of(video) for video in train]
        held = held_out_groups(train, groups, self.val_fraction, self.seed)
        is_held = np.array([group in held for group in groups])
        kept, val = train.take(np.flatnonzero(~is_held)), train.take(np.flatnonzero(is_held))
        names = {written: self.class_names[i] for written, i in self.class_index().items()}
        check_classes_kept(train.labels, kept.labels, self.val_fraction, names)
        return kept, val

    def _dataset(self, split: Split, videos: ListedVideos) -> VideoDataset:
        table = make_table(self.root, videos, self.class_index(), self.files)
        report_missing(split, table, self.root, self.allow_missing, self.remarks)
        if self.flow_source is not None:
            self.flow_source.check(table)
        return VideoDataset(
            table,
            self.root,
            self.spec,
            train=split == "train",
            seed=self.seed,
            num_clips=self.num_clips if split == "test" else 1,
            num_crops=self.num_crops if split == "test" else 1,
            flow=self.flow_source,
            probe=self.probe,
        )

    def write_missing(self, folder: Path) -> list[Path]:
        """Write `missing_<split>.csv` for every split of which listed videos were not found.

        Args:
            folder: Folder of the files.

        Returns:
            The files written.
        """
        splits = {"train": self.train_set, "val": self.val_set, "test": self.test_set}
        incomplete = {name: part.table for name, part in splits.items() if part.missing}
        targets = {name: folder / f"missing_{name}.csv" for name in incomplete}
        for name, table in incomplete.items():
            write_missing(targets[name], table, self.class_names)
        return list(targets.values())

    def on_after_batch_transfer(self, batch: VideoBatch, dataloader_idx: int) -> VideoBatch:
        """Augment training clips, and normalize all clips, on the device."""
        assert self.trainer is not None
        training = self.trainer.training
        if training:
            batch = self.on_device.augment(batch, self.class_names)
        dtype = self.trainer.lightning_module.dtype
        assert isinstance(dtype, torch.dtype)
        batch = self.on_device.normalize(batch, dtype)
        if training and self.on_device.mixing:
            batch = self.on_device.mix(batch, self.num_classes)
        return batch


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"data.{name}={value} is not possible; it must lie in [{low}, {high}]")
