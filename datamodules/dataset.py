"""VideoDataset: from a sample key to all views of one video, and batches of them.

B batch, V views (clips x crops), C channels, T frames, H, W.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.batch import VideoItem, Views
from datamodules.clips.chunks import stack_centres
from datamodules.clips.crops import NumCrops, count_crops, count_mirrored
from datamodules.clips.figures import FigureSource, without_figure
from datamodules.clips.input_spec import InputSpec
from datamodules.clips.probes import ClipChange
from datamodules.clips.sampling import FrameIndices
from datamodules.errors import ShardError, UserError
from datamodules.flow.sources import FlowSource, flow_views, read_stacks
from datamodules.randomness import sample_generator
from datamodules.samplers import SampleKey
from datamodules.stopwatch import during, stopwatch
from datamodules.storage.elsewhere.background import process_background
from datamodules.storage.source import Place, Source, as_source
from datamodules.storage.transient import heard
from datamodules.streaming.views import evaluation_views
from datamodules.video.errors import VideoError
from datamodules.video.patience import await_root
from datamodules.video.quarantine import Quarantine
from datamodules.video.segment import VideoSegment

MAX_REPLACEMENTS = 20
"""Broken videos in a row after which training on others makes no sense."""


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
        train: True for random training clips, False for fixed evaluation views.
        seed: Seed of the random choices.
        num_clips: Clips per video of an evaluation.
        num_crops: Crops per clip of an evaluation.
        repeated_views: Clips of a video in training.
        flow: Source of the optical flow of the same frames; None for none.
        probe: Change of an evaluation's clips; None for none.
        groups: Scene, source video or person of each video, N names, empty where unknown; None for
            all unknown.
        figures: Source of what moves in the videos; None where nobody knows it.

    Attributes:
        quarantine: Videos that could not be read, which training does not try again; at first of
            this process alone. It changes no clip. An evaluation tries them all.
    """

    def __init__(
        self,
        table: VideoTable,
        root: Place,
        spec: InputSpec,
        *,
        train: bool,
        seed: int = 0,
        num_clips: int = 1,
        num_crops: NumCrops = 1,
        repeated_views: int = 1,
        flow: FlowSource | None = None,
        probe: ClipChange | None = None,
        groups: PackedStrings | None = None,
        figures: FigureSource | None = None,
    ) -> None:
        self.table = table
        self.root = as_source(root)
        self.spec = spec
        self.train = train
        self.seed = seed
        self.num_clips = num_clips
        self.num_crops: NumCrops = num_crops
        self.repeated_views = repeated_views
        self.flow = flow
        self.probe = probe
        self._groups = groups
        self.figures = figures
        self.quarantine = Quarantine()
        self._fetched: set[SampleKey] = set()  # and not read yet

    @property
    def groups(self) -> PackedStrings:
        """Scene, source video or person of all listed videos; empty where unknown."""
        return PackedStrings([""] * len(self)) if self._groups is None else self._groups

    @property
    def video_ids(self) -> PackedStrings:
        """Names of all listed videos."""
        return self.table.video_ids

    @property
    def labels(self) -> np.ndarray:
        """Labels of all listed videos, (N,) int64, or marks of their classes, (N, K) uint8."""
        return self.table.labels

    @property
    def missing(self) -> list[str]:
        """Names of the listed videos whose file was not found."""
        return self.table.missing

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: SampleKey | int) -> VideoItem:
        """Read all views of one video.

        Args:
            key: Epoch and index, as the samplers give them; an index alone is one of epoch 0.

        Raises:
            UserError: If no readable training video was found in 20 draws.
        """
        if not isinstance(key, SampleKey):
            key = SampleKey(0, range(len(self))[key])
        self._fetched.discard(key)
        if key.ahead is not None:
            self._fetch_soon(key.ahead)
        with heard() as waits, stopwatch() as seconds, during("rest"):
            item = self._read(key)
        return {**item, "waits": waits, "seconds": dict(seconds)}

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> list[VideoItem]:
        """Read a batch; where videos lie elsewhere, what nobody fetched ahead comes at once.

        Args:
            keys: See `__getitem__`.
        """
        for key in keys:
            if isinstance(key, SampleKey) and self.root.is_elsewhere:
                self._fetch_soon(key)
        return [self[key] for key in keys]

    def _fetch_soon(self, key: SampleKey) -> None:
        """Have what an item is read from fetched in the background, once."""
        if key.valid and key not in self._fetched:
            self._fetched.add(key)
            process_background().add(partial(self._fetch, key))

    def _read(self, key: SampleKey) -> VideoItem:
        """Read all views of one video; see `__getitem__`."""
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
                    raise UserError(
                        f"{len(broken)} training videos in a row cannot be read, the last one for "
                        f"this reason: {error}; check data.root"
                    ) from error
                index = int(replacements.choice(self.table.present))
            else:
                return self._item(key, index, views, valid=True, broken=broken)

    def _fetch(self, key: SampleKey) -> None:
        """Fetch what an item is read from; whatever fails is told when it is read."""
        faults = VideoError, ShardError, UserError, OSError
        with heard(), suppress(*faults), self._open(key.index) as video:
            if self.train:
                chosen = self._draw(video, self._generators(key.epoch, key.index))
            else:
                chosen = self._chosen(video, key.index)
            video.fetch(chosen.ravel())

    def _generators(self, epoch: int, index: int) -> list[np.random.Generator]:
        """Make what the choices of each training view are drawn from."""
        views = range(self.repeated_views)
        return [sample_generator(self.seed, epoch, index, view) for view in views]

    def _draw(self, video: VideoSegment, generators: Sequence[np.random.Generator]) -> FrameIndices:
        """Draw the frames of each training view, (V, T)."""
        first, count = self._centres(video)
        rate, sampling = video.frame_rate, self.spec.sampling
        drawn = np.concatenate([sampling.train(count, rng, rate) for rng in generators])
        return self._checked(drawn, len(generators), count) + first

    def _train_views(self, epoch: int, index: int) -> Views:
        """Read random clips, `repeated_views` of them."""
        number, generators = self.repeated_views, self._generators(epoch, index)
        watch = self.quarantine.watch(self.video_ids[index], self._path(index))
        with watch as attempt, self._open(index) as video:
            attempt.is_open = True
            chosen = self._draw(video, generators)
            size = video.height, video.width
            crops = [self.spec.crops.draw(*size, rng) for rng in generators]
            clips = video.get_clips(list(zip(chosen, crops, strict=True)))
            fields = self._fields(index, chosen.ravel(), video)
        # (V, T, C, H, W) -> (V, C, T, H, W)
        views: Views = {"clips": torch.stack(clips).transpose(1, 2)}
        if fields is not None:
            cut = [crop(part) for crop, part in zip(crops, fields.chunk(number), strict=True)]
            views["flow"] = flow_views(torch.cat(cut)[None], chosen.shape, 0)
        return views

    def _test_views(self, index: int) -> Views:
        """Read all evaluation views, clip by clip."""
        with self._open(index) as video:
            chosen = self._chosen(video, index)
            crops = self._test_crops(video, chosen, index)
            fields = self._fields(index, chosen.ravel(), video)
            size = (video.height, video.width)
        flow = None if fields is None else self.spec.crops.test(fields, self.num_crops, size)
        return evaluation_views(crops, chosen.shape, flow, count_mirrored(self.num_crops))

    def _chosen(self, video: VideoSegment, index: int) -> FrameIndices:
        """Choose the frames of each clip of an evaluation, (N, T)."""
        first, count = self._centres(video)
        fixed = self.spec.sampling.test(count, self.num_clips, video.frame_rate)
        chosen = self._checked(fixed, self.num_clips, count) + first
        if self.probe is not None:
            chosen = self.probe.order(chosen, count, self.video_ids[index])
        return chosen

    def _test_crops(self, video: VideoSegment, chosen: FrameIndices, index: int) -> Tensor:
        """Read the M crops of the frames of N clips, changed by the probe, (N*T, M, C, H, W)."""

        def crops(frames: Tensor) -> Tensor:
            return self.spec.crops.test(frames, self.num_crops).transpose(0, 1)

        if self.probe is None:
            return video.get_frames(chosen.ravel(), crops)
        frames = video.get_frames(chosen.ravel())
        frames = self.probe.pixels(frames, chosen, self.video_ids[index])
        if self.probe.removes_figure and self.figures is not None:
            figure = self.figures.read(self.table.paths[index])
            frames = without_figure(frames, figure, chosen)
        return crops(frames)

    def _checked(self, chosen: FrameIndices, num_clips: int, num_frames: int) -> FrameIndices:
        """Refuse frames of a sampler that make no clip; return all others."""
        sampling = self.spec.sampling
        shape = (num_clips, sampling.clip_len if self.train else sampling.test_len)
        if chosen.shape != shape or chosen.min() < 0 or chosen.max() >= num_frames:
            raise UserError(
                f"{type(sampling).__name__} chose frames {chosen.tolist()} of a video of "
                f"{num_frames}; it must choose {shape[1]} of them for {num_clips} clip(s), "
                f"shape {shape}, from 0 to {num_frames - 1}"
            )
        return chosen

    def _centres(self, video: VideoSegment) -> tuple[int, int]:
        """Find the first drawable frame and their number: with flow, those a stack fits around."""
        if self.flow is None:
            return 0, video.num_frames
        return stack_centres(video.num_frames, self.flow.spec.length)

    def _fields(self, index: int, chosen: FrameIndices, video: VideoSegment) -> Tensor | None:
        """Read stacks of flow around frames, (T * L, 2, H, W); None without flow."""
        if self.flow is None:
            return None
        times = float(self.table.starts[index]), float(self.table.ends[index])
        path, frames = self._path(index), video.num_frames
        return read_stacks(self.flow, self.table.paths[index], path, chosen, frames, times)

    def _path(self, index: int) -> Source:
        return self.root / self.table.paths[index]

    def _open(self, index: int) -> VideoSegment:
        starts, ends = self.table.starts, self.table.ends
        times = float(starts[index]), float(ends[index])
        with during("open"):
            return await_root(lambda: VideoSegment(self._path(index), *times), self.root)

    def _blank_views(self) -> Views:
        crops, sampling = self.spec.crops, self.spec.sampling
        side = crops.size if self.train else crops.crop_size
        frames = sampling.clip_len if self.train else sampling.test_len
        evaluated = self.num_clips * count_crops(self.num_crops)
        number = self.repeated_views if self.train else evaluated
        shape = (frames, side, side)
        views: Views = {"clips": torch.zeros((number, 3, *shape), dtype=torch.uint8)}
        if self.flow is not None:
            codes = torch.zeros((number, 2 * self.flow.spec.length, *shape), dtype=torch.uint8)
            views["flow"] = codes
        return views

    def _item(
        self,
        key: SampleKey,
        index: int,
        views: Views,
        *,
        valid: bool,
        broken: list[tuple[str, str]],
    ) -> VideoItem:
        return {
            **views,
            "label": self.table.label(index),
            "video_id": self.video_ids[index],
            "index": index,
            "epoch": key.epoch,
            "train": self.train,
            "valid": valid,
            "broken": broken,
            "waits": [],
            "seconds": {},
        }
