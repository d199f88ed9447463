"""Frames that are changed a few at a time are those that are changed together."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.clips.crops import Crops
from datamodules.video import frame_parts
from datamodules.video.frame_parts import FrameParts
from datamodules.video.reader import VideoReader


def limit(monkeypatch: pytest.MonkeyPatch, frames: int, height: int, width: int) -> None:
    """Let no more than some frames be in memory together, and half of one."""
    monkeypatch.setattr(frame_parts, "_BYTES_AT_ONCE", int(3 * height * width * (frames + 0.5)))


@pytest.mark.parametrize("at_once", [0, 1, 3, 7, 20])
def test_frames_stand_in_their_places_whatever_the_order(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    limit(monkeypatch, at_once, 4, 6)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 4, 6, 3), dtype=np.uint8)
    seen: list[int] = []

    def change(frames: Tensor) -> Tensor:
        seen.append(len(frames))
        return frames[:, :1, 1:3].flip(-1)

    parts = FrameParts(7, 4, 6, change)
    for position in (4, 0, 6, 1, 2, 5, 3):
        parts.put(position, pixels[position])
    expected = pixels[:, 1:3, ::-1, 0][:, None]
    assert np.array_equal(parts.frames().numpy(), expected)
    assert sum(seen) == 7
    assert max(seen) == min(7, max(1, at_once))


@pytest.mark.parametrize("num_crops", [1, 3, 10])
def test_a_video_read_in_parts_is_the_same_clip(
    monkeypatch: pytest.MonkeyPatch, test_data: Path, num_crops: int
) -> None:
    root = test_data / "ucf101_3class" / "videos" / "Punch"
    crops = Crops(size=48, short_side=64)
    wanted = [9, 2, 2, 30, 11, 7, 7, 29]
    sizes: list[int] = []

    def change(frames: Tensor) -> Tensor:
        sizes.append(len(frames))
        return crops.test(frames, num_crops).transpose(0, 1)  # type: ignore[arg-type]

    with VideoReader(min(root.iterdir())) as video:
        together = change(video.get_frames(wanted))
        limit(monkeypatch, 2, video.height, video.width)
        apart = video.get_frames(wanted, change)
    assert torch.equal(apart, together)
    assert sizes == [8, 2, 2, 2]


def test_no_frames_are_no_frames() -> None:
    assert FrameParts(0, 4, 6, None).frames().shape == (0, 3, 4, 6)
    assert FrameParts(0, 4, 6, lambda frames: frames[..., :2]).frames().shape == (0, 3, 4, 2)
