"""Splits, loaders and device-side augmentation."""

import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from grouped import augmented, data_settings

from datamodules import MotionShapesDataModule, VideoBatch, VideoFolderDataModule
from datamodules.annotations.listed_videos import ListedVideo
from datamodules.settings import Loading

SIZES: dict[str, Any] = {"num_frames": 4, "frame_stride": 2, "size": 32, "short_side": 40}
CLIP = data_settings(**SIZES, num_workers=0)


def motion_shapes(root: Path, **kwargs: Any) -> MotionShapesDataModule:
    sizes = {"num_train": 64, "num_val": 16, "num_test": 16}
    data = MotionShapesDataModule(
        str(root), **sizes, **data_settings(**{"num_workers": 0, **kwargs})
    )
    data.prepare_data()
    data.setup()
    return data


def epoch_of(data: Any, epoch: int) -> list[VideoBatch]:
    place = {"global_rank": 0, "world_size": 1, "ckpt_path": None}
    data.trainer = SimpleNamespace(current_epoch=epoch, accumulate_grad_batches=1, **place)
    return list(data.train_dataloader())


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
    data = motion_shapes(motion_root, num_clips=2, num_crops=3, batch_size=6, **SIZES)
    train = next(iter(data.train_dataloader()))
    assert train["clips"].shape == (6, 1, 3, 4, 32, 32)
    assert train["clips"].dtype == torch.uint8
    assert train["valid"].all()
    test = next(iter(data.test_dataloader()))
    assert test["clips"].shape == (1, 6, 3, 4, 32, 32)
    assert data.test_set.video_ids[int(test["index"][0])] == test["video_id"][0]
    assert [data.num_classes, len(data.class_names), data.evaluation.num_views] == [8, 8, 6]
    for split, count in ((data.train_set, 64), (data.val_set, 16), (data.test_set, 16)):
        assert len(split.video_ids) == len(split.labels) == count
        assert split.missing == []


def test_flips_follow_the_sample_and_rename_mirrored_classes(motion_root: Path) -> None:
    data = motion_shapes(motion_root, flip_probability=0.5, batch_size=64)
    (batch,) = epoch_of(data, 0)
    plain = {key: value for key, value in batch.items() if key != "clips"}
    clips, labels = batch["clips"].clone(), batch["label"].clone()
    once = augmented(data, {**plain, "clips": clips.clone()})  # type: ignore[typeddict-item]
    flipped = (once["clips"] != clips).flatten(1).any(1)
    assert 15 < int(flipped.sum()) < 49
    assert torch.equal(once["clips"][flipped], clips[flipped].flip(-1))
    swaps = {0: 1, 1: 0, 4: 5, 5: 4}
    expected = [
        swaps.get(int(label), int(label)) if flip else int(label)
        for label, flip in zip(labels, flipped, strict=True)
    ]
    assert once["label"].tolist() == expected
    whole = {"epoch", "train", "broken", "seconds"}
    half = {key: value[:32] for key, value in plain.items() if key not in whole}
    part = augmented(
        data,
        {**half, "epoch": 0, "train": True, "clips": clips[:32].clone(), "label": labels[:32]},  # type: ignore[typeddict-item]
    )
    assert torch.equal(part["clips"], once["clips"][:32])


def test_colour_changes_are_drawn_per_sample(motion_root: Path) -> None:
    data = motion_shapes(motion_root, color=0.4, batch_size=8)
    batch = epoch_of(data, 0)[0]
    clips = batch["clips"].float() / 255
    again = epoch_of(data, 0)[0]
    first, second = (
        augmented(data, batch)["clips"],
        augmented(data, again)["clips"],
    )
    assert torch.equal(first, second)
    assert (first - clips).abs().flatten(1).mean(1).min() > 1e-3


def test_broken_video_is_replaced_in_training_only(class_folders: Path) -> None:
    bad = class_folders / "grow" / "bad.mp4"
    bad.write_text("<html>not a video</html>")
    data = VideoFolderDataModule(str(class_folders), val_fraction=0, **CLIP)
    data.setup()
    data.loading = Loading(batch_size=19, num_workers=0)
    (batch,) = epoch_of(data, 0)
    assert [name for name, _ in batch["broken"]] == ["grow/bad.mp4"]
    assert batch["valid"].all()
    assert len(batch["video_id"]) == 19
    assert "grow/bad.mp4" not in batch["video_id"]
    labels = dict(zip(data.train_set.video_ids, data.train_set.labels.tolist(), strict=True))
    assert [labels[name] for name in batch["video_id"]] == batch["label"].tolist()
    (again,) = epoch_of(data, 0)
    assert again["video_id"] == batch["video_id"]

    evaluation = VideoFolderDataModule(str(class_folders), val_fraction=0.9, **CLIP)
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


def test_single_videos_are_held_out_class_by_class(class_folders: Path) -> None:
    (class_folders / "rare").mkdir()
    shutil.copy(next((class_folders / "grow").iterdir()), class_folders / "rare" / "only.mp4")
    parts = []
    for seed in (0, 0, 1):
        data = VideoFolderDataModule(str(class_folders), val_fraction=0.1, seed=seed, **CLIP)
        data.setup()
        parts.append(list(data.val_set.video_ids))
        classes = Counter(name.split("/")[0] for name in parts[-1])
        assert classes == {"grow": 1, "move_up": 1, "turn_clockwise": 1}
        assert "rare/only.mp4" in data.train_set.video_ids
    assert parts[0] == parts[1] != parts[2]


def test_classes_without_training_videos_are_refused(class_folders: Path) -> None:
    with pytest.raises(ValueError, match=r"val_fraction=0\.5 holds out every .* of [a-z]+.*lower"):
        VideoFolderDataModule(
            str(class_folders), val_fraction=0.5, group_pattern=r"^(\w+)/", **CLIP
        ).setup()


def test_group_holds_across_classes_unless_the_pattern_takes_the_class_in(
    class_folders: Path,
) -> None:
    names = ["grow/x_00001].mp4", "move_up/x_00001].mp4"]
    for pattern, count in ((r"_(\d+)\]", 1), (r"([^/]+)/.*_\d+\]", 2)):
        data = VideoFolderDataModule(str(class_folders), group_pattern=pattern, **CLIP)
        assert len({data.group_of(ListedVideo(name, "0", name)) for name in names}) == count


def test_groups_of_test_videos_are_named_where_they_are_known(
    class_folders: Path, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        shutil.copytree(class_folders, tmp_path / split)
    # the first video of each class has no number that the second pattern takes
    for pattern, known in ((None, ()), (r"_(0+[1-5])\]", (1, 2, 3, 4, 5))):
        data = VideoFolderDataModule(str(tmp_path), group_pattern=pattern, val_fraction=0, **CLIP)
        data.setup()
        expected = [f"{n:05d}" if n in known else "" for n in range(6)] * 3
        assert list(data.test_set.groups) == expected
        assert list(data.train_set.groups) == [""] * 18


def test_pictures_beside_videos_do_not_hide_their_class(class_folders: Path) -> None:
    (class_folders / "grow" / "Thumbs.jpg").write_bytes(b"")
    data = VideoFolderDataModule(str(class_folders), **CLIP)
    data.setup()
    assert data.class_names == ["grow", "move_up", "turn_clockwise"]
    (class_folders / "pictures").mkdir()
    (class_folders / "pictures" / "00001.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 folder\(s\) of images .* such as pictures"):
        VideoFolderDataModule(str(class_folders), **CLIP).setup()


def divided(root: Path, **splits: str) -> Path:
    """Empty files `<split>/<class>/<class>.mp4` of the named classes."""
    for split, names in splits.items():
        for name in names.split():
            (root / split / name).mkdir(parents=True)
            (root / split / name / f"{name}.mp4").write_bytes(b"")
    return root


def test_picture_beside_class_folders_does_not_hide_the_split(tmp_path: Path) -> None:
    root = divided(tmp_path, train="run walk", val="run walk")
    (root / "train" / "cover.jpg").write_bytes(b"")
    data = VideoFolderDataModule(str(root), **CLIP)
    data.setup()
    assert list(data.train_set.video_ids) == ["train/run/run.mp4", "train/walk/walk.mp4"]


def test_classes_outside_training_are_refused(tmp_path: Path) -> None:
    root = divided(tmp_path, train="run walk", val="jump run walk")
    (root / "val" / ".cache").mkdir()
    with pytest.raises(ValueError, match=r"not among the 2 classes .*: jump; remove"):
        VideoFolderDataModule(str(root), **CLIP).setup()


def test_gaps_in_the_class_ids_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a 30\nb 48\nc 30\n")
    with pytest.raises(ValueError, match=r"2 class ids, .* up to 48; .*data\.classes_file"):
        VideoFolderDataModule(str(tmp_path), "train.txt", **CLIP).setup()


@pytest.mark.parametrize("lists", [("t", "other"), ("other", "t"), (None, "t")])
def test_videos_in_two_splits_are_refused(tmp_path: Path, lists: tuple[str | None, str]) -> None:
    (tmp_path / "t").write_text("a.mp4 0\nb.mp4 1\nc.mp4 0\nd.mp4 1\n")
    (tmp_path / "other").write_text("e.mp4 0\nf.mp4 1\n")
    options = {"val_list": lists[0], "test_list": lists[1], "allow_missing": True, **CLIP}
    with pytest.raises(
        ValueError, match=r"4 video\(s\) are listed both for training and .* a\.mp4"
    ):
        VideoFolderDataModule(str(tmp_path), "t", **options).setup()


def test_listed_class_names_become_classes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{tmp_path}/a.mp4,walk\nb.mp4,run fast\n")
    (tmp_path / "a.mp4").write_bytes(b"")
    data = VideoFolderDataModule(str(tmp_path), "t.csv", val_fraction=0, **CLIP)
    data.setup()
    assert data.class_names == ["run fast", "walk"]
    assert list(data.train_set.video_ids) == ["a.mp4", "b.mp4"]
    assert data.train_set.missing == ["b.mp4"]


def test_unknown_flipped_classes_are_found_in_setup(class_folders: Path) -> None:
    for names in ({"flip_exempt": ["glow"]}, {"flip_pairs": [("grow", "glow")]}):
        with pytest.raises(ValueError, match="'glow', which is not a class"):
            VideoFolderDataModule(str(class_folders), **data_settings(**names, **SIZES)).setup()


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
        ({"batch_size": 0}, r"data\.loading\.batch_size=0 is too small"),
        ({"flip_probability": 1.5}, r"data\.augmentation\.flip_probability=1\.5"),
        ({"short_side": 20}, "short_side=20 is smaller"),
        ({"num_segments": 4}, "exclude each other"),
        ({"group_pattern": "("}, "not a regular expression"),
        (
            {"std": (0.2, 0.0, 0.2)},
            r"data\.normalization\.std=\[0\.2, 0\.0, 0\.2\] is not possible",
        ),
        ({"std": (0.2, 0.2)}, r"data\.normalization\.mean has 3 and std 2 values"),
        ({"test_list": "x.txt"}, r"go with data\.train_list"),
    ],
)
def test_settings_that_do_not_work_are_refused(
    class_folders: Path, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        VideoFolderDataModule(str(class_folders), **data_settings(**{**SIZES, **change}))


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
        str(test_data / "weizmann_4"),
        "train.txt",
        "val.txt",
        **CLIP,
    )
    data.setup()
    assert data.num_classes == 4
    item = data.train_set[next(iter(data.train_dataloader().sampler))]
    assert item["clips"].shape == (1, 3, 4, 32, 32)
    assert np.ptp(item["clips"].numpy()) > 50
