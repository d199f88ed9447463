"""Batches of own videos, to hold against those of the same videos elsewhere."""

from typing import Any

import torch
from grouped import data_settings

from datamodules import VideoFolderDataModule

FORM = {"num_frames": 4, "frame_stride": 2, "batch_size": 4, "val_fraction": 0.2}


def batches(root: str, num_workers: int = 0) -> list[dict[str, Any]]:
    """Everything that an epoch of training and a validation load."""
    data = VideoFolderDataModule(root, **data_settings(**FORM, num_workers=num_workers))
    data.setup("fit")
    loaders = (data.train_dataloader(), data.val_dataloader())
    return [batch for loader in loaders for batch in loader]


def assert_equal(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Check that batches hold the same clips of the same videos in the same order."""
    assert len(found) == len(expected) > 2
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["video_id"] == theirs["video_id"]
        assert torch.equal(ours["clips"], theirs["clips"])
        assert torch.equal(ours["label"], theirs["label"])
