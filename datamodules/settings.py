"""Settings of a DataModule that belong together: of its loaders, and of its evaluation."""

from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.batch import VideoItem, collate_videos
from datamodules.clips.corruptions.catalogue import Corruption, parse_corruptions
from datamodules.clips.crops import NumCrops, count_crops
from datamodules.clips.probes import ClipChange, parse_change
from datamodules.errors import UserError
from datamodules.samplers import SampleKey

__all__ = ["Evaluation", "Loading"]


@dataclass(frozen=True)
class Loading:
    """Settings of the loaders.

    Attributes:
        batch_size: Clips per device in training; an evaluation takes as many views at a time.
        repeated_views: Clips of each training video in a batch, each of frames, crop and changes of
            its own (repeated augmentation, Hoffer et al., CVPR 2020, arXiv 1901.09335); the video
            is opened once for all. `batch_size`, which counts clips, must be a multiple of it.
        shuffle_block: Videos of a block that is shuffled, after the shards of a packed dataset; for
            disks that are slow to read here and there. Null for one shuffle of all videos.
        num_workers: Loader processes per device.
        worker_timeout: Seconds that a loader process may take for a batch before the run stops; 0
            for no limit.

    Raises:
        UserError: If a number is too small, or a batch cannot be made of whole sets of views.
    """

    batch_size: int = 8
    repeated_views: int = 1
    shuffle_block: int | None = None
    num_workers: int = 2
    worker_timeout: float = 600.0

    def __post_init__(self) -> None:
        for name, least in (
            *(("batch_size", 1), ("repeated_views", 1)),
            *(("num_workers", 0), ("worker_timeout", 0)),
            *((("shuffle_block", 1),) if self.shuffle_block is not None else ()),
        ):
            _check_at_least(f"loading.{name}", getattr(self, name), least)
        if self.batch_size % self.repeated_views:
            raise UserError(
                f"data.loading.batch_size={self.batch_size} cannot hold whole videos of "
                f"data.loading.repeated_views={self.repeated_views} clips each; make it a multiple"
            )

    @property
    def videos_per_batch(self) -> int:
        """Videos of a training batch, per device."""
        return self.batch_size // self.repeated_views

    def loader(
        self,
        dataset: Dataset[VideoItem],
        sampler: Sampler[SampleKey],
        batch_size: int,
        seed: int,
    ) -> DataLoader[VideoItem]:
        """Make a loader of batches.

        Args:
            dataset: The videos of a split.
            sampler: Their order.
            batch_size: Videos of a batch.
            seed: Seed of the run.
        """
        workers = self.num_workers
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            timeout=self.worker_timeout if workers else 0,
            collate_fn=collate_videos,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            # a private generator: else iter(loader) draws from the global one, shifting dropout
            generator=torch.Generator().manual_seed(seed),
        )


@dataclass(frozen=True)
class Evaluation:
    """Views of each video in `test`.

    Attributes:
        num_clips: Clips per video.
        num_crops: Crops per clip: 1, 2, 3, 10 (2 and 10 with mirror images), `full` for the whole
            frame, `full_flip` for that and its mirror image.
        probe: Change of an evaluation's clips, to see what a network relies on: `shuffled`,
            `reversed`, `frozen`, `sparse(2)`, `frame_drops(0.25)`, `occlusion(0.25)`,
            `motion_blur(0.05)`, `recompression(10)`, `background`, or a corruption in one severity,
            such as `jpeg@3`; null for nothing. Not in a fit.
        corruptions: Corruptions that `test` runs one after another, beside the plain test: `all`,
            families (`noise`, `blur`, `digital`, `temporal`, `camera`) or names, separated by
            commas, each in all five severities or, as in `noise@3`, in one; null for none.
        probe_seed: Seed of what a probe or corruption draws; not the run's, so that every network
            is shown the same changed clips.

    Raises:
        UserError: If a number is too small, or there is no such corruption.
    """

    num_clips: int = 1
    num_crops: NumCrops = 1
    probe: str | None = None
    corruptions: str | None = None
    probe_seed: int = 0

    def __post_init__(self) -> None:
        _check_at_least("evaluation.num_clips", self.num_clips, 1)
        _check_at_least("evaluation.probe_seed", self.probe_seed, 0)
        planned = self.planned_corruptions
        if self.probe is not None and planned:
            raise UserError(
                f"data.evaluation.probe={self.probe} and data.evaluation.corruptions="
                f"{self.corruptions} are two tests; give one of them"
            )

    @property
    def planned_corruptions(self) -> list[Corruption]:
        """The corruptions to run, one severity after another."""
        if self.corruptions is None:
            return []
        return parse_corruptions(self.corruptions, self.probe_seed)

    def change(self, clip_len: int, has_flow: bool) -> ClipChange | None:
        """Parse the probe; None where clips are left as they are.

        Args:
            clip_len: Frames of a clip, T.
            has_flow: True if optical flow stands beside the frames.

        Raises:
            UserError: If there is no such probe, or clips cannot be changed so.
        """
        asked = {"probe": self.probe, "corruptions": self.corruptions}
        given = [f"data.evaluation.{key}={word}" for key, word in asked.items() if word is not None]
        if has_flow and given:
            raise UserError(
                f"{given[0]} changes frames, and data.flow is that of the unchanged video; leave "
                "one of them out"
            )
        if self.probe is None:
            return None
        change = parse_change(self.probe, self.probe_seed)
        change.check_clip(clip_len)
        return change

    def check_stage(self, stage: str | None) -> None:
        """Refuse changed clips where they would mislead.

        Args:
            stage: `fit`, `validate`, `test`; None where data is only looked at.

        Raises:
            UserError: If clips are to be changed in a fit, or a series of tests is no test.
        """
        if stage in ("fit", "validate") and self.corruptions is not None:
            raise UserError(
                f"data.evaluation.corruptions={self.corruptions} is a series of tests; leave it "
                f"out of {'a fit' if stage == 'fit' else stage}, and give it to `kinetoscope test`"
            )
        if stage == "fit" and self.probe is not None:
            raise UserError(
                f"data.evaluation.probe={self.probe} changes the clips of an evaluation and would "
                "mislead a fit; leave it out, and give it to `kinetoscope test`"
            )

    @property
    def num_views(self) -> int:
        """Views of a video in `test`: clips x crops."""
        return self.num_clips * count_crops(self.num_crops)

    @property
    def whole_frames(self) -> bool:
        """True if whole frames are tested, which differ in size from video to video."""
        return self.num_crops in ("full", "full_flip")


def _check_at_least(name: str, value: float, least: int) -> None:
    if value < least:
        raise UserError(f"data.{name}={value} is too small; give at least {least}")
