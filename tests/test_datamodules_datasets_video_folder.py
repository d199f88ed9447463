"""Own videos: what is really tested, and groups that their names tell."""

from pathlib import Path
from typing import Any

import pytest
from dataset_trees import CLIP, place_videos

from datamodules import VideoFolderDataModule
from datamodules.annotations.listed_videos import ListedVideo
from datamodules.annotations.remarks import Remark

UCF = [
    f"{name}/v_{name}_g{group:02d}_c{clip:02d}.mp4"
    for name in ("Punch", "PushUps")
    for group in range(1, 11)
    for clip in (1, 2, 3)
]


def said(root: Path, **settings: Any) -> tuple[VideoFolderDataModule, list[Remark]]:
    """Set up own videos; what is said."""
    data = VideoFolderDataModule(str(root), **settings, **CLIP)
    with data.remarks.collected() as remarks:
        data.setup()
        data.setup()
    return data, remarks


def scenes(part: Any) -> set[str]:
    """Scenes of a split's videos, by hand."""
    return {path.split("/")[1][:-8] for path in part.table.paths}


def test_divided_scenes_are_counted_and_offered(motion_root: Path, tmp_path: Path) -> None:
    place_videos(motion_root, tmp_path, UCF)
    data, remarks = said(tmp_path)
    (remark,) = [remark for remark in remarks if remark.subject == "groups"]
    shared = [
        path
        for path in data.val_set.table.paths
        if path.split("/")[1][:-8] in scenes(data.train_set)
    ]
    assert len(shared) >= 5
    assert f"{len(shared)} of 6 validation videos have theirs in training" in remark.sentence
    assert data.guessed_groups is not None
    pattern = data.guessed_groups.pattern
    assert f"data.group_pattern='{pattern}'" in remark.sentence
    video = ListedVideo(UCF[0], "0", UCF[0])
    assert (data.group_of(video), data.source_of(video)) == (UCF[0], "v_Punch_g01")
    data, remarks = said(tmp_path, group_pattern=pattern)
    assert not [remark for remark in remarks if "file names" in remark.sentence]
    assert not scenes(data.val_set) & scenes(data.train_set)
    assert [list(data.val_set.labels).count(label) for label in (0, 1)] == [3, 3]
    assert data.source_of(video) == "v_Punch_g01"
    data, remarks = said(tmp_path, group_pattern=".*")
    assert not [remark for remark in remarks if "file names" in remark.sentence]
    assert data.source_of(video) == ""


def test_scenes_that_given_lists_divide_are_counted(motion_root: Path, tmp_path: Path) -> None:
    def line(path: str) -> str:
        return f"{path} {int(path.startswith('PushUps'))}\n"

    place_videos(motion_root, tmp_path, UCF)
    late = [path for path in UCF if "_g09_" in path or "_g10_" in path]
    (tmp_path / "train.txt").write_text("".join(line(path) for path in UCF if path not in late))
    (tmp_path / "test.txt").write_text("".join(map(line, late)))
    lists = {"train_list": "train.txt", "test_list": "test.txt", "val_fraction": 0.0}
    data, remarks = said(tmp_path, **lists)
    assert [r.subject for r in remarks if "file names look" in r.sentence] == ["splits"]
    (tmp_path / "train.txt").write_text(
        "".join(map(line, [path for path in UCF if path not in late[::2]]))
    )
    (tmp_path / "test.txt").write_text("".join(map(line, late[::2])))
    data, remarks = said(tmp_path, **lists)
    (remark,) = [remark for remark in remarks if remark.subject == "groups"]
    assert "6 of 6 test videos have theirs in training" in remark.sentence
    assert data.test_split_name == "test"


def test_names_without_groups_are_not_spoken_of(class_folders: Path) -> None:
    data, remarks = said(class_folders)
    assert not [remark for remark in remarks if "file names" in remark.sentence]
    video = ListedVideo("grow/x.mp4", "grow", "grow/x.mp4")
    assert data.source_of(video) == ""


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
