"""Small trees in the form of a downloaded dataset."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from grouped import data_settings
from PIL import Image

CLIP = data_settings(num_frames=4, frame_stride=1, size=32, num_workers=0)


def write(path: Path, text: str) -> Path:
    """Write a text file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def place_videos(source: Path, root: Path, paths: Iterable[str]) -> None:
    """Put a real clip at each path; at a path without suffix, a folder of its frames."""
    clip = next((source / "train" / "grow").glob("*.mp4"))
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix:
            os.link(clip, target)
        else:
            target.mkdir()
            for number in range(1, 7):
                Image.new("RGB", (48, 40), (40 * number, 0, 0)).save(
                    target / f"img_{number:05d}.jpg"
                )


def labelled(dataset: Any) -> dict[str, int]:
    """Video id -> label of all listed videos."""
    return dict(zip(dataset.video_ids, dataset.labels.tolist(), strict=True))


def located(dataset: Any) -> dict[str, str]:
    """Video id -> path of the videos that were found."""
    table = dataset.table
    return {table.video_ids[i]: table.paths[i] for i in table.present.tolist()}


def first_clip(dataset: Any) -> tuple[int, ...]:
    """Shape of the first item's clips, read from its file."""
    from datamodules.samplers import SampleKey

    item = dataset[SampleKey(0, int(dataset.table.present[0]))]
    assert item["valid"]
    assert item["broken"] == []
    return tuple(item["clips"].shape)
