"""VideoBatch, which a loader hands to a module, and its items."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.stopwatch import Seconds, during, stopwatch


class Views(TypedDict):
    """Views of a video: clips (V, C, T, H, W) and flow (V, 2L, T, H, W), uint8."""

    clips: Tensor
    flow: NotRequired[Tensor]


class VideoItem(Views):
    """One video: its views, label (a class, or marks of K classes), name and position."""

    label: int | NDArray[np.uint8]
    video_id: str
    index: int
    epoch: int
    train: bool
    valid: bool
    broken: list[tuple[str, str]]
    waits: list[str]
    seconds: Seconds


class VideoBatch(TypedDict, total=False):
    """A batch of videos, all views of a video together.

    On a device are clips, flow, labels and targets; the rest stays in main memory.

    Attributes:
        clips: (B, V, C, T, H, W), uint8 from the loader, normalized on the device. V is 1 in
            training, clips x crops in testing. Repeated views of a training video are samples of
            their own: first the first views of all videos, then the second ones.
        flow: Optical flow of the same views and frames, (B, V, 2L, T, H, W), uint8 from the loader,
            normalized on the device; only for networks of two streams.
        label: (B,) int64; where a video may have several classes, a mark for each class, (B, K)
            uint8.
        target: Labels of mixed training clips, each class's share, (B, K) float32.
        video_id: B names.
        index: Position in the table, (B,) int64.
        repeat: Which of its video's repeated views a training sample is, (B,) int64, from 0.
        epoch: Epoch that random choices were drawn for.
        train: True for training clips, which are augmented.
        valid: (B,) bool; False where a slot only fills up a rank's last batch, or holds a video
            that could not be read in an evaluation.
        broken: Name and reason of each video that could not be read while this batch was made.
        waits: A sentence on each wait for a disk or mount that failed meanwhile.
        seconds: What each part of making this batch took, summed over its videos.
    """

    clips: Tensor
    flow: Tensor
    label: Tensor
    target: Tensor
    video_id: list[str]
    index: Tensor
    repeat: Tensor
    epoch: int
    train: bool
    valid: Tensor
    broken: list[tuple[str, str]]
    waits: list[str]
    seconds: Seconds


def collate_videos(items: Sequence[VideoItem]) -> VideoBatch:
    """Stack items into a batch; see `VideoBatch` for the shapes."""
    with stopwatch() as seconds, during("collate"):
        batch = _collated(items)
    for item in items:
        for part, spent in item["seconds"].items():
            seconds[part] += spent
    batch["seconds"] = dict(seconds)
    return batch


def _collated(items: Sequence[VideoItem]) -> VideoBatch:
    train = items[0]["train"]
    repeats = len(items[0]["clips"]) if train else 1
    batch: VideoBatch = {
        "clips": _stacked([item["clips"] for item in items], train),
        "label": _labels([item["label"] for item in items], repeats),
        "video_id": [item["video_id"] for item in items] * repeats,
        "index": torch.tensor([item["index"] for item in items]).repeat(repeats),
        "repeat": torch.arange(repeats).repeat_interleave(len(items)),
        "epoch": items[0]["epoch"],
        "train": train,
        "valid": torch.tensor([item["valid"] for item in items]).repeat(repeats),
        "broken": [pair for item in items for pair in item["broken"]],
        "waits": [sentence for item in items for sentence in item["waits"]],
    }
    if "flow" in items[0]:
        batch["flow"] = _stacked([item["flow"] for item in items], train)
    return batch


def _labels(labels: Sequence[int | NDArray[np.uint8]], repeats: int) -> Tensor:
    """Stack labels, all repeated: (B,), or marks of the classes, (B, K)."""
    stacked = torch.from_numpy(np.stack([np.asarray(label) for label in labels]))
    return stacked.repeat(repeats, *[1] * (stacked.ndim - 1))


def _stacked(views: Sequence[Tensor], train: bool) -> Tensor:
    """Stack the views of each item, B of (V, ...): (B, V, ...), in training (V * B, 1, ...)."""
    stacked = torch.stack(tuple(views))
    return stacked.transpose(0, 1).flatten(0, 1).unsqueeze(1) if train else stacked
