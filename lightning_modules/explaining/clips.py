"""The clips that are explained: the middle of a video, centre crop, as the network sees it.

T frames or chunks, H, W, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.base import VideoDataModule
from datamodules.batch import VideoBatch, collate_videos
from datamodules.clips.input_spec import InputSpec
from datamodules.dataset import VideoDataset
from datamodules.errors import UserError
from datamodules.flow.coding import ZERO_CODE, FlowCoding
from datamodules.samplers import EvaluationSampler
from lightning_modules.console import some_of
from lightning_modules.prediction.inputs import NetworkInput
from lightning_modules.prediction.scoring import Scorer

__all__ = ["Clip", "ClipReader"]


@dataclass(frozen=True)
class Clip:
    """One clip, as the network sees it and as a person does.

    Attributes:
        name: The video.
        inputs: The arguments of the network's `forward`, for a batch of one.
        frames: The frames that entered, (T, H, W, 3) uint8.
        flow: The middle field of each stack of flow, in pixels, (T, 2, H, W); None without flow.
        probabilities: Of the classes, (K,), for this clip alone.
        truth: Name of its class; empty where unknown.
    """

    name: str
    inputs: tuple[Tensor, ...]
    frames: NDArray[np.uint8]
    flow: Tensor | None
    probabilities: Tensor
    truth: str = ""

    @property
    def best(self) -> int:
        """The likeliest class."""
        return int(self.probabilities.argmax())


class ClipReader:
    """Reads clips for a network.

    Args:
        scorer: The trained module.
        given: What the network is shown of a video.
        order: The network's class for each label of the data, (K,); None for the same.
        batch_size: Videos at a time, in a pass over a split.
        num_workers: Decoding processes of a pass.
    """

    def __init__(
        self,
        scorer: Scorer,
        given: NetworkInput,
        order: Tensor | None = None,
        batch_size: int = 8,
        num_workers: int = 0,
    ) -> None:
        self.scorer = scorer
        self.given = replace(given, num_clips=1, num_crops=1)
        self.order = order
        self.batch_size = batch_size
        self.num_workers = num_workers

    @classmethod
    def of_data(
        cls, scorer: Scorer, data: VideoDataModule, batch_size: int, num_workers: int
    ) -> "ClipReader":
        """Make the reader of a DataModule's splits: their videos and flow, the checkpoint's clips.

        Raises:
            UserError: If the data has other classes than the checkpoint.
        """
        spec = InputSpec.from_dict(scorer.module.input_spec)
        source = data.flow_source if "flow" in scorer.module.network.modalities else None
        flow = None if source is None else source.spec
        order = _order(list(data.class_names), scorer.module.class_names)
        return cls(scorer, NetworkInput(spec, 1, 1, None, flow), order, batch_size, num_workers)

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of the logits."""
        return self.scorer.module.class_names

    def of_videos(self, paths: Sequence[str]) -> Iterator[Clip | tuple[str, str]]:
        """Read a clip of each video; name and reason of those that cannot be read."""
        for batch in self.given.loader(list(paths), 1, 0):
            if batch["broken"]:
                yield from batch["broken"]
            else:
                yield self.clip(batch)

    def of_split(self, split: VideoDataset, indices: Sequence[int]) -> Iterator[Clip]:
        """Read a clip of some videos of a split, by their positions; broken ones are left out."""
        own = self.split_as_seen(split)
        for index in indices:
            batch = collate_videos([own[index]])
            if bool(batch["valid"][0]):
                yield self.clip(batch, self.class_names[int(self._labels(batch)[0])])

    def passes(self, split: VideoDataset, most: int | None = None) -> Iterator[VideoBatch]:
        """Go once over a split; videos that cannot be read are left out.

        Args:
            split: A split of the data.
            most: Number of videos, taken evenly from the list; None for all.
        """
        own = self.split_as_seen(split)
        present = own.table.present
        if most is not None and most < len(present):
            present = present[np.linspace(0, len(present) - 1, most).round().astype(int)]
        loader: DataLoader[Any] = DataLoader(
            own,
            self.batch_size,
            sampler=EvaluationSampler(present),
            num_workers=self.num_workers,
            collate_fn=collate_videos,
        )
        for batch in loader:
            valid = batch["valid"]
            if bool(valid.any()):
                batch["label"] = self._labels(batch)
                yield _chosen(batch, valid)

    def _labels(self, batch: VideoBatch) -> Tensor:
        """Get the network's classes for a batch, (B,)."""
        return batch["label"] if self.order is None else self.order[batch["label"]]

    def split_as_seen(self, split: VideoDataset) -> VideoDataset:
        """Take the videos and the flow of a split, and the clips of the checkpoint."""
        return VideoDataset(
            split.table,
            split.root,
            self.given.spec,
            train=False,
            num_clips=1,
            num_crops=1,
            flow=None if self.given.flow is None else split.flow,
        )

    def clip(self, batch: VideoBatch, truth: str = "") -> Clip:
        """Make the clip of a batch of one video."""
        inputs = self.scorer.inputs(batch)
        scores = self.scorer.scores(batch, batch["video_id"])
        flow = None
        if self.given.flow is not None:
            flow = _middle_fields(batch["flow"][0, 0], self.given.flow.bound)
        frames = batch["clips"][0, 0].permute(1, 2, 3, 0).contiguous().numpy()
        probabilities = self.scorer.probabilities(scores)[0]
        name = batch["video_id"][0]
        return Clip(name, inputs, frames, flow, probabilities, truth)


def _order(ours: list[str], theirs: list[str]) -> Tensor:
    """Find the checkpoint's class for each label of the data, by the names."""
    if sorted(ours) != sorted(theirs):
        raise UserError(
            f"the checkpoint's {len(theirs)} classes ({some_of(theirs)}) are not the "
            f"data's {len(ours)} ({some_of(ours)}); use the data it was trained for"
        )
    return torch.tensor([theirs.index(name) for name in ours])


def _chosen(batch: VideoBatch, valid: Tensor) -> VideoBatch:
    """Take the valid videos of a batch."""
    kept: VideoBatch = {
        "clips": batch["clips"][valid],
        "label": batch["label"][valid],
        "index": batch["index"][valid],
        "video_id": [n for n, v in zip(batch["video_id"], valid.tolist(), strict=True) if v],
    }
    if "flow" in batch:
        kept["flow"] = batch["flow"][valid]
    return kept


def _middle_fields(codes: Tensor, bound: float) -> Tensor:
    """Decode the middle field of each stack: (2L, T, H, W) codes -> (T, 2, H, W) in pixels.

    The code of no motion is none here, where the literature's inverse reads half a code of it:
    colours on the scale of the longest displacement would show that half as motion.
    """
    middle = codes.shape[0] // 4 * 2
    field = codes[middle : middle + 2].transpose(0, 1).float()
    return (field - ZERO_CODE) * FlowCoding(bound).step
