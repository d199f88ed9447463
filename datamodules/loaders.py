"""What a trainer gets of a dataset's three splits, and where in it a resumed run goes on."""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from datamodules.augmentation.pipeline import DeviceTransforms
from datamodules.batch import VideoItem, collate_videos
from datamodules.clips.crops import NumCrops, count_crops, count_mirrored
from datamodules.dataset import VideoDataset
from datamodules.remarks import Remarks
from datamodules.samplers import EvaluationSampler, SampleKey, TrainSampler
from datamodules.train_position import TrainPosition, place_of


class VideoLoaders(LightningDataModule):
    """Loaders over three datasets, the same clips on any number of workers and devices.

    A subclass sets all attributes.

    Attributes:
        train_set: Training videos.
        val_set: Validation videos.
        test_set: Test videos.
        batch_size: Clips per device and batch.
        num_workers: Loader processes per device.
        worker_timeout: Seconds after which a worker that gives no batch is an error.
        num_clips: Clips of a video in `test`.
        num_crops: Crops of a clip in `test`.
        seed: Seed of the order of training clips.
        on_device: What happens to batches on the device; names classes that mirror each other.
        resumed: Where in the order of training clips a resumed run goes on.
        remarks: What is worth knowing about the dataset.
    """

    train_set: VideoDataset
    val_set: VideoDataset
    test_set: VideoDataset
    batch_size: int
    num_workers: int
    worker_timeout: float
    num_clips: int
    num_crops: NumCrops
    seed: int
    on_device: DeviceTransforms
    resumed: TrainPosition
    remarks: Remarks

    @property
    def num_views(self) -> int:
        """Views of a video in `test`: clips x crops."""
        return self.num_clips * count_crops(self.num_crops)

    def train_dataloader(self) -> DataLoader[VideoItem]:
        """Shuffled training clips, whole optimizer steps only."""
        return self._loader(self.train_set, self._train_sampler(), self.batch_size)

    def left_out(self, epoch: int) -> list[str]:
        """Names of the training videos that do not fill a step of an epoch, others in each one."""
        return [self.train_set.video_ids[i] for i in self._train_sampler().left_out(epoch)]

    def _train_sampler(self) -> TrainSampler:
        indices, place = self.train_set.table.present, self._place()
        accumulated = 1 if self.trainer is None else self.trainer.accumulate_grad_batches
        return TrainSampler(
            indices, self.batch_size, self.seed, self._train_place, *place, accumulated
        )

    def val_dataloader(self) -> DataLoader[VideoItem] | list[Any]:
        """Every validation video once; nothing where there is no validation split."""
        if not len(self.val_set.table.present):
            return []
        return self._evaluation_loader(self.val_set, self.batch_size)

    def test_dataloader(self) -> DataLoader[VideoItem]:
        """Every test video once, all views of a video together."""
        if count_mirrored(self.num_crops) and self.on_device.named_classes:
            self.remarks.add(
                "views",
                f"data.num_crops={self.num_crops} tests mirror images too, and some classes are "
                "the mirror images of others (data.flip_pairs, data.flip_exempt)",
            )
        whole = self.num_crops in ("full", "full_flip")
        videos = 1 if whole else max(1, self.batch_size // self.num_views)
        return self._evaluation_loader(self.test_set, videos)

    def _evaluation_loader(self, dataset: VideoDataset, batch_size: int) -> DataLoader[VideoItem]:
        rank, world_size = self._place()
        sampler = EvaluationSampler(dataset.table.present, rank, world_size)
        return self._loader(dataset, sampler, batch_size)

    def _loader(
        self, dataset: VideoDataset, sampler: Sampler[SampleKey], batch_size: int
    ) -> DataLoader[VideoItem]:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            timeout=self.worker_timeout if self.num_workers else 0,
            collate_fn=collate_videos,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            # a private generator: else iter(loader) draws from the global one, shifting dropout
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _place(self) -> tuple[int, int]:
        """Rank and number of ranks; one process outside a trainer."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _train_place(self) -> tuple[int, int]:
        """Epoch that begins or is resumed, and its batches that are done already.

        A loader is made before the trainer's own epoch is restored.
        """
        if self.trainer is None or self.trainer.ckpt_path is None:
            return 0 if self.trainer is None else self.trainer.current_epoch, 0
        resumed = self.resumed
        epoch = max(resumed.epoch, self.trainer.current_epoch)
        return epoch, resumed.batches if epoch == resumed.epoch else 0

    def _position(self) -> TrainPosition:
        assert self.trainer is not None
        num_videos = len(self.train_set.table.present)
        global_batch = self.batch_size * self.trainer.world_size
        place = place_of(self.trainer, self._train_sampler().num_batches)
        return TrainPosition(*place, self.seed, global_batch, num_videos)

    def state_dict(self) -> dict[str, Any]:
        """Where in the order of training clips a run resumed from this checkpoint goes on."""
        return dict(vars(self._position()))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over where a fit goes on.

        Raises:
            UserError: If the clips that are left would come in another order.
        """
        if self.trainer is not None and self.trainer.state.fn == "fit":
            self.resumed = TrainPosition(**state_dict)
            self.resumed.check_order(self._position())
