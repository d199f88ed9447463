"""VideoDataset: from a sample key to all views of one video, and batches of them.

B batch, V views (clips x crops), C channels, T frames, H, W.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.annotations import PackedStrings, VideoTable
from datamodules.decoding import VideoSegment
from datamodules.input_spec import InputSpec
from datamodules.quarantine import Quarantine
from datamodules.randomness import sample_generator
from datamodules.samplers import SampleKey
from datamodules.transforms import NumCrops
from datamodules.video_error import VideoError

MAX_REPLACEMENTS = 20
"""Broken videos in a row after which training on others makes no sense."""


class VideoItem(TypedDict):
    """One video: clips (V, C, T, H, W) uint8 and what is known about it."""

    clips: Tensor
    label: int
    video_id: str
    index: int
    epoch: int
    valid: bool
    broken: list[tuple[str, str]]


class VideoBatch(TypedDict, total=False):
    """A batch of videos, all views of a video together.

    Attributes:
        clips: (B, V, C, T, H, W), uint8 from the loader, normalized on the device. V is 1 in
            training, clips x crops in testing.
        flow: Optical flow of the same views and frames, (B, V, 2L, T, H, W), uint8 from the loader,
            normalized on the device; only for networks of two streams.
        label: (B,) int64.
        target: What the training loss compares with where clips are mixed, (B, K) float32, rows
            that sum to 1.
        video_id: B names.
        index: Position in the table, (B,) int64.
        epoch: Epoch that random choices were drawn for.
        valid: (B,) bool; False where a slot only fills up a rank's last batch, or holds a video
            that could not be read in an evaluation.
        broken: Name and reason of each video that could not be read while this batch was made.
    """

    clips: Tensor
    flow: Tensor
    label: Tensor
    target: Tensor
    video_id: list[str]
    index: Tensor
    epoch: int
    valid: Tensor
    broken: list[tuple[str, str]]


class VideoDataset(Dataset[VideoItem]):
    """The videos of a split, decoded when asked for.

    In training a video that cannot be read is replaced by another listed one with its own label,
    chosen from (seed, epoch, index). In an evaluation it is never replaced: its slot is not valid.
    Either way the item names it. A video may be a segment of its file, of which frames are then
    drawn alone.

    Args:
        table: The listed videos.
        root: Folder that the table's paths are relative to.
        spec: Sampling and crop.
        train: Whether items are random training clips, or fixed evaluation views.
        seed: Seed of the random choices.
        num_clips: Clips per video of an evaluation.
        num_crops: Crops per clip of an evaluation.

    Attributes:
        quarantine: Where training remembers which videos cannot be read, so that they are not tried
            in vain; at first within the process. It changes no clip. An evaluation tries them all.
    """

    def __init__(
        self,
        table: VideoTable,
        root: Path,
        spec: InputSpec,
        *,
        train: bool,
        seed: int = 0,
        num_clips: int = 1,
        num_crops: NumCrops = 1,
    ) -> None:
        self.table = table
        self.root = root
        self.spec = spec
        self.train = train
        self.seed = seed
        self.num_clips = num_clips
        self.num_crops: NumCrops = num_crops
        self.quarantine = Quarantine()

    @property
    def video_ids(self) -> PackedStrings:
        """Names of all listed videos."""
        return self.table.video_ids

    @property
    def labels(self) -> np.ndarray:
        """Labels of all listed videos, (N,) int64."""
        return self.table.labels

    @property
    def missing(self) -> list[str]:
        """Names of the listed videos whose file was not found."""
        return self.table.missing

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: SampleKey) -> VideoItem:
        """All views of one video.

        Raises:
            ValueError: If no readable training video was found in 20 draws.
        """
        if not key.valid:
            return self._item(key, key.index, self._blank_views(), valid=False, broken=[])
        if self.train:
            return self._train_item(key)
        try:
            views = self._test_views(key.index)
        except VideoError as error:
            broken: list[tuple[str, str]] = [(self.video_ids[key.index], error.reason)]
            return self._item(key, key.index, self._blank_views(), valid=False, broken=broken)
        return self._item(key, key.index, views, valid=True, broken=[])

    def _train_item(self, key: SampleKey) -> VideoItem:
        replacements = sample_generator(self.seed, key.epoch, key.index, purpose="replacement")
        broken: list[tuple[str, str]] = []
        index = key.index
        while True:
            try:
                views = self._train_views(key.epoch, index)
            except VideoError as error:
                broken.append((self.video_ids[index], error.reason))
                if len(broken) > MAX_REPLACEMENTS:
                    raise ValueError(
                        f"{len(broken)} training videos in a row cannot be read, the last one for "
                        f"this reason: {error}; check data.root"
                    ) from error
                index = int(replacements.choice(self.table.present))
            else:
                return self._item(key, index, views, valid=True, broken=broken)

    def _train_views(self, epoch: int, index: int) -> Tensor:
        """One random clip, (1, C, T, H, W)."""
        generator = sample_generator(self.seed, epoch, index)
        watch = self.quarantine.watch(self.video_ids[index], self._place(index))
        with watch as attempt, self._open(index) as video:
            attempt.is_open = True
            (chosen,) = self.spec.sampling.train(video.num_frames, generator)
            frames = video.get_frames(chosen)
        # (T, C, H, W) -> (1, C, T, H, W)
        return self.spec.transform.train(frames, generator).transpose(0, 1).unsqueeze(0)

    def _test_views(self, index: int) -> Tensor:
        """All evaluation views, clip by clip, (V, C, T, H, W)."""
        with self._open(index) as video:
            chosen = self.spec.sampling.test(video.num_frames, self.num_clips)
            frames = video.get_frames(chosen.ravel())
        # (M, N*T, C, H, W) -> (M, N, T, C, H, W) -> (N, M, C, T, H, W) -> (V, C, T, H, W)
        crops = self.spec.transform.test(frames, self.num_crops)
        clips = crops.view(len(crops), *chosen.shape, *crops.shape[2:])
        return clips.permute(1, 0, 3, 2, 4, 5).flatten(0, 1)

    def _place(self, index: int) -> Path:
        return self.root / self.table.paths[index]

    def _open(self, index: int) -> VideoSegment:
        starts, ends = self.table.starts, self.table.ends
        return VideoSegment(self._place(index), float(starts[index]), float(ends[index]))

    def _blank_views(self) -> Tensor:
        transform = self.spec.transform
        side = transform.size if self.train else transform.crop_size
        crops = 1 if self.num_crops == "full" else self.num_crops
        views = 1 if self.train else self.num_clips * crops
        return torch.zeros((views, 3, self.spec.sampling.clip_len, side, side), dtype=torch.uint8)

    def _item(
        self,
        key: SampleKey,
        index: int,
        views: Tensor,
        *,
        valid: bool,
        broken: list[tuple[str, str]],
    ) -> VideoItem:
        return {
            "clips": views,
            "label": int(self.table.labels[index]),
            "video_id": self.video_ids[index],
            "index": index,
            "epoch": key.epoch,
            "valid": valid,
            "broken": broken,
        }


def collate_videos(items: Sequence[VideoItem]) -> VideoBatch:
    """Stack items into a batch; see `VideoBatch` for the shapes."""
    return {
        "clips": torch.stack([item["clips"] for item in items]),
        "label": torch.tensor([item["label"] for item in items]),
        "video_id": [item["video_id"] for item in items],
        "index": torch.tensor([item["index"] for item in items]),
        "epoch": items[0]["epoch"],
        "valid": torch.tensor([item["valid"] for item in items]),
        "broken": [pair for item in items for pair in item["broken"]],
    }
