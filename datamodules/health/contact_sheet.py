"""Clips of each class as the network sees them: after sampling and crops, before augmentation."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.dataset import VideoDataset
from datamodules.samplers import SampleKey

CLASSES = 60
"""Classes of which clips are shown."""

CLIPS = 3
"""Clips of a class."""

FRAMES = 4
"""Frames of a clip, evenly spread from its first to its last."""


class SheetClip(NamedTuple):
    """A training clip.

    Attributes:
        video_id: Name of its video.
        frames: Some of its frames, (N, H, W, C), uint8.
    """

    video_id: str
    frames: NDArray[np.uint8]


def draw_clips(dataset: VideoDataset, good: Sequence[int], label: int) -> Iterator[SheetClip]:
    """Draw training clips of a class, as they are drawn in the first epoch.

    Args:
        dataset: Training videos.
        good: Positions of those that are known to decode.
        label: The class.
    """
    shows = dataset.table.videos_of(label)
    mine = [index for index in good if shows[index]]
    chosen = np.unique(np.linspace(0, len(mine) - 1, min(CLIPS, len(mine))).round().astype(int))
    for position in chosen.tolist():
        item = dataset[SampleKey(0, mine[position])]
        if item["video_id"] == dataset.video_ids[mine[position]]:  # it broke since
            clip = item["clips"][0]  # (C, T, H, W)
            times = np.unique(np.linspace(0, clip.shape[1] - 1, FRAMES).round().astype(int))
            yield SheetClip(item["video_id"], clip[:, times].permute(1, 2, 3, 0).numpy())
