"""VideoDataModule: settings, splits, loaders and device-side changes, common to all datasets."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from datamodules.annotated import AnnotatedDataset
from datamodules.annotations.listed_videos import Split
from datamodules.annotations.remarks import Remarks
from datamodules.annotations.splits import without_collector
from datamodules.annotations.table import PackedStrings, VideoTable, write_missing
from datamodules.augmentation.functional import normalize, normalize_flow
from datamodules.augmentation.mirrors import (
    ClassInfo,
    mirror_sentences,
    refuse_mirrored_views,
)
from datamodules.augmentation.pipeline import Augmentation, StandardAugmentation
from datamodules.batch import VideoBatch, VideoItem
from datamodules.clips.clip_sampler import ClipSampler, FrameSampler
from datamodules.clips.crops import Crops, count_mirrored
from datamodules.clips.input_spec import InputSpec, Normalization
from datamodules.clips.probes import ClipChange
from datamodules.data_spec import DataSpec
from datamodules.dataset import VideoDataset
from datamodules.errors import UserError
from datamodules.flow.sources import FlowInput, FlowSource, StoredFlow
from datamodules.packing.kept_lists import kept_lists
from datamodules.randomness import BatchDraws
from datamodules.samplers import (
    BlockShuffle,
    EvaluationSampler,
    LookAhead,
    SampleKey,
    TrainSampler,
)
from datamodules.settings import Evaluation, Loading
from datamodules.stopwatch import during, stopwatch
from datamodules.storage.elsewhere.remote_packs import local_root
from datamodules.transcoding.settings import read_transcoding

__all__ = ["Split", "VideoDataModule"]


class VideoDataModule(AnnotatedDataset, LightningDataModule):
    """Base of every dataset: give `class_names` and `read_split`, the rest is here.

    All randomness is a function of (seed, epoch, index): the same clips come out whatever the
    number of workers or devices.

    Args:
        root: Folder of the dataset, packed or not, or the address of a packed one, such as
            `s3://bucket/k400` (see `kinetoscope pack`).
        sampling: Choice of a clip's frames: `FrameSampler`, or a `ClipSampler` of your own.
        crops: Crops of the frames.
        augmentation: Changes of training clips on the device: `StandardAugmentation`, whose default
            only mirrors, or an `Augmentation` of your own; null for that default.
        normalization: The scale of colours.
        loading: Batch size and loader processes.
        evaluation: Clips, crops and probe of `test`.
        flow: Optical flow beside the frames, for two-stream networks; null for none.
        val_fraction: Share of each class's training videos, at least one of two, that is held out
            where there is no validation list; groups of several videos are held out whole.
        allow_missing: Set up even when no listed file is there.
        max_broken_fraction: Share of the listed training videos that may turn out unreadable
            before the run stops.
        seed: Seed of every random choice; linked to `seed_everything` on the command line.

    Attributes:
        train_set: Training videos, after `setup`.
        val_set: Validation videos.
        test_set: Test videos.
        test_split_name: What the test videos really are, after `setup`: `test`, `validation` where
            the field reports that, or the validation videos for want of a test list, in words.
        spec: The clips: sampling, crops, normalization, flow.

    Raises:
        UserError: If arguments do not fit together.
    """

    train_set: VideoDataset
    val_set: VideoDataset
    test_set: VideoDataset
    test_split_name: str

    def __init__(
        self,
        root: str,
        sampling: FrameSampler | ClipSampler | None = None,
        crops: Crops = Crops(),
        augmentation: StandardAugmentation | Augmentation | None = None,
        normalization: Normalization = Normalization(),
        loading: Loading = Loading(),
        evaluation: Evaluation = Evaluation(),
        flow: FlowInput | None = None,
        val_fraction: float = 0.1,
        allow_missing: bool = False,
        max_broken_fraction: float = 0.005,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_range("val_fraction", val_fraction, 0, 0.9)
        _check_range("max_broken_fraction", max_broken_fraction, 0, 1)
        self.root = local_root(root)
        self.augmentation = StandardAugmentation() if augmentation is None else augmentation
        self.spec = InputSpec(
            FrameSampler() if sampling is None else sampling,
            crops,
            normalization,
            augmentation=self.augmentation.description(),
        )
        self.loading = loading
        self.evaluation = evaluation
        self.flow = flow
        self.spec.sampling.test(1, evaluation.num_clips)
        self.spec.crops.check_crops(evaluation.num_crops)
        self.probe = evaluation.change(self.spec.sampling.test_len, flow is not None)
        self.val_fraction = val_fraction
        self.allow_missing = allow_missing
        self.max_broken_fraction = max_broken_fraction
        self.seed = seed
        self.remarks = Remarks()
        self._resume_position = (0, 0)  # epoch, and batches of it that a resumed run has done

    @property
    def mirrored_classes(self) -> ClassInfo:
        """The classes, with their mirror images as the augmentation treats them."""
        return self.augmentation.mirrored(self.class_info)

    def remark_on_mirrors(self) -> None:
        """Say what becomes of classes that differ in a mirror, where training mirrors clips."""
        if self.augmentation.mirrors:
            for sentence in mirror_sentences(self.mirrored_classes):
                self.remarks.add("classes", sentence)

    @cached_property
    def flow_source(self) -> FlowSource | None:
        """Source of the optical flow; None without flow.

        Raises:
            UserError: If there is no flow, or its method is not known.
        """
        return None if self.flow is None else StoredFlow.of(self.flow)

    def input_spec(self) -> dict[str, Any]:
        """Describe the clips in plain values, for the checkpoint."""
        source = self.flow_source
        flow = None if source is None else source.spec
        transcoded = read_transcoding(self.root)
        return replace(self.spec, flow=flow, transcoded=transcoded).as_dict()

    def data_spec(self) -> DataSpec:
        """Describe the data for a module; after `setup`, and in a fit with its trainer."""
        source, training = self.flow_source, len(self.train_set.table.present) > 0
        fits = self.trainer is None or self.trainer.state.fn == "fit"
        return DataSpec(
            class_names=tuple(self.class_names),
            label_form=self.label_form,
            dataset=self.dataset_name,
            seen_by=self.seen_by,
            input=self.input_spec(),
            batch_size=self.loading.batch_size,
            batches_per_epoch=self._train_sampler().num_batches if training and fits else None,
            num_clips=self.evaluation.num_clips,
            num_crops=self.evaluation.num_crops,
            frames_per_segment=self.spec.sampling.frames_per_segment,
            flow=None if source is None else source.spec,
            seed=self.seed,
            validation={"videos": len(self.val_set), "list": self.val_set.table.digest},
        )

    def setup(self, stage: str | None = None) -> None:
        """Read all three splits.

        Raises:
            UserError: If the root is missing, none of the listed files is there, a video is in
                training and in another split, a flipped class is unknown, clips of several classes
                are to be reversed, a fit is to be probed, nothing is known of the figure that is to
                be taken out, or mirror images are to be tested of classes that differ in a mirror.
        """
        self.evaluation.check_stage(stage)
        if hasattr(self, "train_set"):
            return
        if not self.root.is_dir():
            raise UserError(
                f"there is no dataset folder {self.root}; set data.root to where the videos are"
            )
        if self.flow is not None and not self.augmentation.moves_flow:
            raise UserError(
                "data.augmentation changes clips in a way that their flow cannot follow "
                "(reversals, rand_augment), and data.flow is set; leave one out"
            )
        if not self.label_form.is_single and self.augmentation.needs_one_class:
            raise UserError(
                "data.augmentation.reversals=true names the reversal of a clip's one class, and "
                f"{self.dataset_name} has {self.label_form}; leave it out"
            )
        if self.probe is not None and self.probe.removes_figure and self.figures is None:
            raise UserError(
                f"data.evaluation.probe={self.probe} takes out what moves, and nothing marks that "
                f"in {self.dataset_name}; use a dataset with masks, such as MotionShapes"
            )
        with without_collector():
            lists = kept_lists(self, self.read_lists)
        self.test_split_name = lists.test_split_name
        if lists.are_kept:
            self.take_facts(lists.facts)
            for remark in lists.remarks:
                self.remarks.add(remark.subject, remark.sentence)
        self.augmentation.check_classes(self.class_info)
        self.remark_on_mirrors()
        num_crops = self.evaluation.num_crops
        if count_mirrored(num_crops):
            option = f"data.evaluation.num_crops={num_crops}"
            refuse_mirrored_views(option, self.mirrored_classes)
        self.train_set = self._dataset("train", lists.tables["train"])
        self.val_set = self._dataset("val", lists.tables["val"])
        self.test_set = self._dataset("test", lists.tables["test"], lists.sources)
        present = self.train_set.table.present
        if stage in ("fit", None) and self._blocks is not None and len(present):
            self.remarks.add("splits", self._blocks.cost(present, self.seed))

    def _dataset(
        self, split: Split, table: VideoTable, sources: PackedStrings | None = None
    ) -> VideoDataset:
        if self.flow_source is not None:
            self.flow_source.check(table)
        return VideoDataset(
            table,
            self.store,
            self.spec,
            train=split == "train",
            seed=self.seed,
            num_clips=self.evaluation.num_clips if split == "test" else 1,
            num_crops=self.evaluation.num_crops if split == "test" else 1,
            repeated_views=self.loading.repeated_views,
            flow=self.flow_source,
            probe=self.probe,
            groups=sources,
            figures=self.figures,
        )

    def show(self, change: ClipChange | None) -> None:
        """Change the clips of the next evaluation in another way than settings say.

        Args:
            change: A corruption; None for plain clips.
        """
        self.probe = change
        if hasattr(self, "test_set"):
            self.test_set.probe = change

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
            write_missing(targets[name], table, self.class_names, self.label_form)
        return list(targets.values())

    def train_dataloader(self) -> DataLoader[VideoItem]:
        """Load shuffled training clips, whole optimizer steps only."""
        sampler, videos = self._train_sampler(), self.loading.videos_per_batch
        return self._loader(self.train_set, sampler, videos)

    def left_out(self, epoch: int) -> list[str]:
        """Name the training videos that an epoch drops, as they fill no step."""
        return [self.train_set.video_ids[i] for i in self._train_sampler().left_out(epoch)]

    def val_dataloader(self) -> DataLoader[VideoItem] | list[Any]:
        """Load every validation video once; nothing where there is no validation split."""
        if not len(self.val_set.table.present):
            return []
        return self._evaluation_loader(self.val_set, self.loading.batch_size)

    def test_dataloader(self) -> DataLoader[VideoItem]:
        """Load every test video once, all views of a video together."""
        evaluation = self.evaluation
        at_once = 1 if evaluation.whole_frames else self.loading.batch_size // evaluation.num_views
        return self._evaluation_loader(self.test_set, max(1, at_once))

    def _train_sampler(self) -> TrainSampler:
        return TrainSampler(
            self.train_set.table.present,
            self.loading.videos_per_batch,
            self.seed,
            self._start_position,
            *self._rank_and_world_size(),
            1 if self.trainer is None else self.trainer.accumulate_grad_batches,
            self.loading.repeated_views,
            self._blocks,
        )

    @cached_property
    def _blocks(self) -> BlockShuffle | None:
        """The shuffle of two levels; None for one of all videos.

        Raises:
            UserError: If the dataset has no shards.
        """
        block = self.loading.shuffle_block
        if block is None:
            return None
        return BlockShuffle.of(self.store, self.train_set.table.paths, block)

    def _evaluation_loader(self, dataset: VideoDataset, batch_size: int) -> DataLoader[VideoItem]:
        sampler = EvaluationSampler(dataset.table.present, *self._rank_and_world_size())
        return self._loader(dataset, sampler, batch_size)

    def _loader(
        self, dataset: VideoDataset, sampler: Sampler[SampleKey], batch_size: int
    ) -> DataLoader[VideoItem]:
        """Make a loader, which looks ahead where videos come from another machine."""
        if dataset.root.is_elsewhere:
            sampler = LookAhead(sampler, batch_size * max(1, self.loading.num_workers))
        return self.loading.loader(dataset, sampler, batch_size, self.seed)

    def _rank_and_world_size(self) -> tuple[int, int]:
        """Get this rank and the number of ranks; one process outside a trainer."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def train_order(self) -> dict[str, Any]:
        """Describe what the order of training clips depends on, beside epoch and files found."""
        table = self.train_set.table
        return {
            "seed": self.seed,
            "global_batch": self.loading.videos_per_batch * self._rank_and_world_size()[1],
            "videos": f"{len(table)} videos, {table.digest}",
            "shuffle": "" if self._blocks is None else str(self._blocks),
        }

    def go_on_at(self, epoch: int, batches: int) -> None:
        """Make the next training loader begin within an epoch, as a resumed run does.

        Args:
            epoch: The epoch.
            batches: Batches of it that are done already.
        """
        self._resume_position = epoch, batches

    def go_on_without(self, absent: NDArray[np.int64]) -> None:
        """Train on the videos that a run began with; those gone since are replaced, as during it.

        Args:
            absent: Positions in the training list of the files that the run did not find, (M,).
        """
        self.train_set.table = self.train_set.table.without(absent)

    def _start_position(self) -> tuple[int, int]:
        """Get the epoch that begins or is resumed, and its batches that are done already.

        A loader is made before the trainer's own epoch is restored.
        """
        epoch, batches = self._resume_position
        if self.trainer is None or self.trainer.ckpt_path is None:
            return 0 if self.trainer is None else self.trainer.current_epoch, 0
        now = max(epoch, self.trainer.current_epoch)
        return now, batches if now == epoch else 0

    def transfer_batch_to_device(
        self, batch: VideoBatch, device: torch.device, dataloader_idx: int
    ) -> VideoBatch:
        """Bring clips and flow to the device.

        All else stays where this process reads it, so that it never waits for the device; labels
        follow in `on_after_batch_transfer`.

        Args:
            batch: A batch as it comes from a loader.
            device: Where the network is.
            dataloader_idx: Not used.
        """
        with stopwatch() as seconds, during("transfer"):
            batch["clips"] = batch["clips"].to(device, non_blocking=True)
            if "flow" in batch:
                batch["flow"] = batch["flow"].to(device, non_blocking=True)
        batch["seconds"] |= seconds
        return batch

    def on_after_batch_transfer(self, batch: VideoBatch, dataloader_idx: int) -> VideoBatch:
        """Augment training clips and normalize all clips, on the device; a trainer is not needed.

        Args:
            batch: A batch as it comes from a loader, clips uint8, (B, V, C, T, H, W).
            dataloader_idx: Not used.

        Returns:
            The batch, clips and flow normalized to the module's dtype, labels beside them.
        """
        if not batch["train"]:
            return self._normalized(batch)
        draws = BatchDraws.of(self.seed, batch)
        batch = self.augmentation.augment(batch, draws, self.class_info)
        return self.augmentation.mix(self._normalized(batch), draws, self.num_classes)

    def _normalized(self, batch: VideoBatch) -> VideoBatch:
        """Normalize, and bring the labels to where the clips are."""
        batch["label"] = batch["label"].to(batch["clips"].device, non_blocking=True)
        dtype = torch.float32
        if self.trainer is not None and self.trainer.lightning_module is not None:
            module_dtype = self.trainer.lightning_module.dtype
            assert isinstance(module_dtype, torch.dtype)
            dtype = module_dtype
        scale = self.spec.normalization
        batch["clips"] = normalize(batch["clips"], scale.mean, scale.std, dtype)
        if "flow" in batch:
            batch["flow"] = normalize_flow(batch["flow"], dtype)
        return batch


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"data.{name}={value} is not possible; it must lie in [{low}, {high}]")
