"""Own videos: what is really tested."""

from pathlib import Path

import pytest
from dataset_trees import CLIP

from datamodules import VideoFolderDataModule


@pytest.mark.parametrize(
    ("folders", "name"),
    [
        (("train", "val", "test"), "test"),
        (("train", "test"), "test"),
        (("train", "val"), "validation (no test list)"),
        (("train",), "validation held out of training (no test list)"),
    ],
)
def test_test_videos_are_called_what_they_are(
    motion_root: Path, tmp_path: Path, folders: tuple[str, ...], name: str
) -> None:
    for folder in folders:
        (tmp_path / folder).symlink_to(motion_root / folder)
    data = VideoFolderDataModule(str(tmp_path), **CLIP)
    data.setup()
    assert data.test_split_name == name
    assert (set(data.test_set.video_ids) == set(data.val_set.video_ids)) == (name != "test")
