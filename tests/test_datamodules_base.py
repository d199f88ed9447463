"""Splits, loaders and device-side augmentation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import MotionShapesDataModule, VideoBatch, VideoFolderDataModule

CLIP: dict[str, Any] = {"num_frames": 4, "frame_stride": 2, "size": 32, "short_side": 40}


def motion_shapes(root: Path, **kwargs: Any) -> MotionShapesDataModule:
    sizes = {"num_train": 64, "num_val": 16, "num_test": 16}
    data = MotionShapesDataModule(str(root), **sizes, **{"num_workers": 0, **kwargs})
    data.prepare_data()
    data.setup()
    return data


def epoch_of(data: Any, epoch: int) -> list[VideoBatch]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_batches_are_the_same_with_and_without_workers(motion_root: Path) -> None:
    for epoch in (0, 3):
        batches = [
            epoch_of(motion_shapes(motion_root, num_workers=workers, size=48, short_side=64), epoch)
            for workers in (0, 2)
        ]
        for ours, theirs in zip(*batches, strict=True):
            assert ours["video_id"] == theirs["video_id"]
            assert torch.equal(ours["clips"], theirs["clips"])
            assert torch.equal(ours["label"], theirs["label"])


def test_another_epoch_or_seed_gives_other_clips(motion_root: Path) -> None:
    crop = {"size": 48, "short_side": 64, "batch_size": 64}
    (first,) = epoch_of(motion_shapes(motion_root, **crop), 0)
    (second,) = epoch_of(motion_shapes(motion_root, **crop), 1)
    (other,) = epoch_of(motion_shapes(motion_root, seed=1, **crop), 0)
    assert sorted(first["video_id"]) == sorted(second["video_id"]) == sorted(other["video_id"])
    for batch in (second, other):
        where = [batch["video_id"].index(name) for name in first["video_id"]]
        assert not torch.equal(first["clips"], batch["clips"][where])


def test_batch_holds_what_its_contract_says(motion_root: Path) -> None:
    data = motion_shapes(motion_root, num_clips=2, num_crops=3, batch_size=6, **CLIP)
    train = next(iter(data.train_dataloader()))
    assert train["clips"].shape == (6, 1, 3, 4, 32, 32)
    assert train["clips"].dtype == torch.uint8
    assert train["valid"].all()
    test = next(iter(data.test_dataloader()))
    assert test["clips"].shape == (1, 6, 3, 4, 32, 32)
    assert data.test_set.video_ids[int(test["index"][0])] == test["video_id"][0]
    assert [data.num_classes, len(data.class_names), data.num_views] == [8, 8, 6]
    for split, count in ((data.train_set, 64), (data.val_set, 16), (data.test_set, 16)):
        assert len(split.video_ids) == len(split.labels) == count
        assert split.missing == []


def test_flips_follow_the_sample_and_rename_mirrored_classes(motion_root: Path) -> None:
    data = motion_shapes(motion_root, flip_probability=0.5, batch_size=64)
    (batch,) = epoch_of(data, 0)
    plain = {key: value for key, value in batch.items() if key != "clips"}
    clips, labels = batch["clips"].clone(), batch["label"].clone()
    once = data.augment({**plain, "clips": clips.clone()})  # type: ignore[typeddict-item]
    flipped = (once["clips"] != clips).flatten(1).any(1)
    assert 15 < int(flipped.sum()) < 49
    assert torch.equal(once["clips"][flipped], clips[flipped].flip(-1))
    swaps = {0: 1, 1: 0, 4: 5, 5: 4}
    expected = [
        swaps.get(int(label), int(label)) if flip else int(label)
        for label, flip in zip(labels, flipped, strict=True)
    ]
    assert once["label"].tolist() == expected
    half = {key: value[:32] for key, value in plain.items() if key not in {"epoch", "broken"}}
    part = data.augment({**half, "epoch": 0, "clips": clips[:32].clone(), "label": labels[:32]})  # type: ignore[typeddict-item]
    assert torch.equal(part["clips"], once["clips"][:32])


def test_colour_changes_are_drawn_per_sample(motion_root: Path) -> None:
    data = motion_shapes(motion_root, color=0.4, batch_size=8)
    batch = epoch_of(data, 0)[0]
    clips = batch["clips"].float() / 255
    again = epoch_of(data, 0)[0]
    first, second = data.augment(batch)["clips"], data.augment(again)["clips"]
    assert torch.equal(first, second)
    assert (first - clips).abs().flatten(1).mean(1).min() > 1e-3


def test_broken_video_is_replaced_in_training_only(class_folders: Path) -> None:
    bad = class_folders / "grow" / "bad.mp4"
    bad.write_text("<html>not a video</html>")
    data = VideoFolderDataModule(str(class_folders), val_fraction=0, num_workers=0, **CLIP)
    data.setup()
    data.batch_size = 19
    (batch,) = epoch_of(data, 0)
    assert [name for name, _ in batch["broken"]] == ["grow/bad.mp4"]
    assert batch["valid"].all()
    assert len(batch["video_id"]) == 19
    assert "grow/bad.mp4" not in batch["video_id"]
    labels = dict(zip(data.train_set.video_ids, data.train_set.labels.tolist(), strict=True))
    assert [labels[name] for name in batch["video_id"]] == batch["label"].tolist()
    (again,) = epoch_of(data, 0)
    assert again["video_id"] == batch["video_id"]

    evaluation = VideoFolderDataModule(str(class_folders), val_fraction=0.9, num_workers=0, **CLIP)
    evaluation.setup()
    seen = list(evaluation.val_dataloader())
    names = [name for batch in seen for name in batch["video_id"]]
    valid = torch.cat([batch["valid"] for batch in seen]).tolist()
    assert sorted(names) == sorted(evaluation.val_set.video_ids)
    assert [name for name, good in zip(names, valid, strict=True) if not good] == ["grow/bad.mp4"]


def test_held_out_videos_are_whole_groups(class_folders: Path) -> None:
    data = VideoFolderDataModule(
        str(class_folders), val_fraction=0.3, group_pattern=r"_(\d+)\]", **CLIP
    )
    data.setup()
    train, val = set(data.train_set.video_ids), set(data.val_set.video_ids)
    assert not train & val
    assert len(train | val) == 18
    groups = [{name.rsplit("_", 1)[1] for name in part} for part in (train, val)]
    assert not groups[0] & groups[1]
    assert 5 <= len(val) <= 8


def test_missing_videos_are_counted_and_none_at_all_is_an_error(motion_root: Path) -> None:
    lines = [f"train/grow/grow_{i:05d}.mp4 0" for i in range(8)] + ["train/grow/gone.mp4 1"]
    (motion_root / "some.txt").write_text("\n".join(lines))
    (motion_root / "none.txt").write_text("x/gone.mp4 0\nx/lost.mp4 1\n")
    data = VideoFolderDataModule(str(motion_root), "some.txt", val_fraction=0, **CLIP)
    data.setup()
    assert data.train_set.missing == ["train/grow/gone.mp4"]
    assert len(data.train_set.video_ids) == 9
    with pytest.raises(ValueError, match="none of the 2 listed train videos"):
        VideoFolderDataModule(str(motion_root), "none.txt", val_fraction=0, **CLIP).setup()
    allowed = VideoFolderDataModule(
        str(motion_root), "none.txt", val_fraction=0, allow_missing=True, **CLIP
    )
    allowed.setup()
    assert allowed.train_set.missing == ["x/gone.mp4", "x/lost.mp4"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 0}, r"data\.batch_size=0 is too small"),
        ({"flip_probability": 1.5}, r"data\.flip_probability=1\.5"),
        ({"short_side": 20}, "short_side=20 is smaller"),
        ({"num_segments": 4}, "exclude each other"),
        ({"group_pattern": "("}, "not a regular expression"),
        ({"test_list": "x.txt"}, r"go with data\.train_list"),
    ],
)
def test_settings_that_do_not_work_are_refused(
    class_folders: Path, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        VideoFolderDataModule(str(class_folders), **{**CLIP, **change})


def test_folders_that_hold_no_dataset_are_refused(class_folders: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="there is no dataset folder"):
        _ = VideoFolderDataModule(str(tmp_path / "nowhere"), **CLIP).class_names
    with pytest.raises(ValueError, match="holds 0 class folder"):
        _ = VideoFolderDataModule(str(empty), **CLIP).class_names
    (class_folders / "idle").mkdir()
    with pytest.raises(ValueError, match=r"class folder .*idle holds no video"):
        VideoFolderDataModule(str(class_folders), **CLIP).setup()


def test_divided_class_folders_are_found(motion_root: Path) -> None:
    data = VideoFolderDataModule(str(motion_root), **CLIP)
    data.setup()
    assert [len(s) for s in (data.train_set, data.val_set, data.test_set)] == [64, 16, 16]
    assert data.class_names == sorted(data.class_names)
    for video, label in zip(data.val_set.video_ids, data.val_set.labels, strict=True):
        assert data.class_names[label] == video.split("/")[1]


def test_real_ucf101_form_is_read(test_data: Path) -> None:
    data = VideoFolderDataModule(
        str(test_data / "ucf101_3class" / "videos"),
        "../lists/trainlist01.txt",
        test_list="../lists/testlist01.txt",
        classes_file="../lists/classInd.txt",
        group_pattern=r"_(g\d+)_",
        **CLIP,
    )
    data.setup()
    assert data.class_names == ["BabyCrawling", "Punch", "PushUps"]
    assert len(data.train_set) + len(data.val_set) == 117
    assert len(data.test_set) == 45
    assert data.test_set.missing == data.train_set.missing == []
    for split in (data.train_set, data.val_set, data.test_set):
        for video, label in zip(split.video_ids, split.labels, strict=True):
            assert video.startswith(data.class_names[label] + "/")


def test_real_frame_folders_are_read(test_data: Path) -> None:
    data = VideoFolderDataModule(
        str(test_data / "weizmann_4"), "train.txt", "val.txt", num_workers=0, **CLIP
    )
    data.setup()
    assert data.num_classes == 4
    item = data.train_set[next(iter(data.train_dataloader().sampler))]
    assert item["clips"].shape == (1, 3, 4, 32, 32)
    assert np.ptp(item["clips"].numpy()) > 50
