"""Labels of several classes: lists, tables, divisions, and what augmentations do with them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_trees import CLIP, place_videos, write
from grouped import augmented, data_settings
from label_lists import COLUMNS, MULTI, write_label_lists

from datamodules import CharadesDataModule, UserError, VideoFolderDataModule
from datamodules.annotations.label_form import SINGLE, LabelForm
from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.augmentation.functional import flip_labels, flip_mask
from datamodules.augmentation.mixing import mix_labels
from datamodules.batch import collate_videos
from datamodules.health.contact_sheet import draw_clips
from datamodules.health.findings import read_lists
from datamodules.health.lists import check_classes
from datamodules.health.videos import check_equal_files
from datamodules.samplers import SampleKey

LISTS = {f"{split}_list": f"{{}}_{split}.csv" for split in ("train", "val", "test")}


def folder_data(root: Path, lists: Path, kind: str, **more: Any) -> VideoFolderDataModule:
    given: dict[str, Any] = {key: str(lists / name.format(kind)) for key, name in LISTS.items()}
    form = {"multi_label": True} if kind == "multi" else {"label_columns": ["verb", "way"]}
    return VideoFolderDataModule(str(root), **given, **form, **more)


@pytest.mark.parametrize(("kind", "names"), [("multi", MULTI), ("columns", COLUMNS)])
def test_lists_with_several_labels_are_read(
    kind: str, names: list[str], motion_root: Path, tmp_path: Path
) -> None:
    written = write_label_lists(motion_root, tmp_path)
    data = folder_data(motion_root, tmp_path, kind, **CLIP)
    data.setup()
    assert data.class_names == names
    assert data.label_form == LabelForm(kind, ("verb", "way") if kind == "columns" else ())
    for part in (data.train_set, data.val_set, data.test_set):
        labels = part.labels
        assert (labels.shape, labels.dtype) == ((len(part), len(names)), np.uint8)
        for i, path in enumerate(part.video_ids):
            found = [names[k].partition(":")[2] or names[k] for k in np.flatnonzero(labels[i])]
            assert sorted(found) == sorted(written[path])
    batch = collate_videos([data.train_set[SampleKey(0, i)] for i in (3, 5)])
    np.testing.assert_array_equal(batch["label"], data.train_set.labels[[3, 5]])


def test_table_packs_marks(tmp_path: Path) -> None:
    marks = np.random.default_rng(0).integers(0, 2, (50, 157)).astype(np.uint8)
    names = PackedStrings([f"v{i}" for i in range(50)])
    table = VideoTable(names, names, marks, np.arange(0, 50, 2))
    np.testing.assert_array_equal(table.labels, marks)
    np.testing.assert_array_equal(table.label(7), marks[7])
    np.testing.assert_array_equal(table.videos_of(3), marks[:, 3] == 1)
    np.testing.assert_array_equal(table.class_counts(table.present, 157), marks[::2].sum(axis=0))
    assert table._labels.numel() == 50 * 20  # a bit for each class
    fewer = table.without(np.array([4]))
    np.testing.assert_array_equal(fewer.labels, marks)
    assert len(fewer.present) == 49
    assert fewer.digest == table.digest
    marks[0, 156] ^= 1
    assert VideoTable(names, names, marks, table.present).digest != table.digest


def mistaken(root: Path, text: str, **settings: Any) -> str:
    listed = write(root / "list.csv", text)
    with pytest.raises(UserError) as error:
        VideoFolderDataModule(str(root), train_list=str(listed), **settings, **CLIP).setup()
    return str(error.value)


def test_lists_that_say_no_labels_are_refused(tmp_path: Path) -> None:
    two: dict[str, Any] = {"label_columns": ["verb", "noun"]}
    many: dict[str, Any] = {"multi_label": True}
    good = "path,verb,noun\na.mp4,open,door\nb.mp4,close,box\n"
    assert "has no column 'noun'" in mistaken(tmp_path, "path,verb\na.mp4,open\n", **two)
    assert "has no column 'labels'" in mistaken(tmp_path, good, **many)
    assert "has no column 'path'" in mistaken(tmp_path, "a.mp4,open;close\n", **many)
    assert "one class of a video" in mistaken(tmp_path, good.replace("door", "door;box"), **two)
    assert "the column noun has 1 class" in mistaken(tmp_path, good.replace("box", "door"), **two)
    assert "at least two columns" in mistaken(tmp_path, good, label_columns=["verb"])
    assert "each once" in mistaken(tmp_path, good, label_columns=["verb", "Verb"])
    assert "called action" in mistaken(tmp_path, good, label_columns=["action", "noun"])
    classes = write(tmp_path / "names.txt", "verb:open\nverb:close\nnoun:door\nnoun:pan\n")
    assert "'noun:box' of b.mp4" in mistaken(tmp_path, good, classes_file=str(classes), **two)
    classes.write_text("verb:open\ndoor\n")
    assert "'door' belongs to none" in mistaken(tmp_path, good, classes_file=str(classes), **two)
    classes.write_text("open;shut\ndoor\n")
    many_good = "path,labels\na.mp4,open;door\n"
    assert "holds ';'" in mistaken(tmp_path, many_good, classes_file=str(classes), **many)
    with pytest.raises(UserError, match="not given; give it"):
        VideoFolderDataModule(str(tmp_path), multi_label=True, **CLIP)


def test_no_class_loses_its_last_video_to_validation(motion_root: Path, tmp_path: Path) -> None:
    write_label_lists(motion_root, tmp_path)
    rows = (tmp_path / "multi_train.csv").read_text().splitlines()
    rare = [row for row in rows if "clockwise" not in row] + [r for r in rows if ";" in r][-1:]
    (tmp_path / "multi_train.csv").write_text("\n".join(rare))
    held = set[str]()
    for seed in range(5):
        train = str(tmp_path / "multi_train.csv")
        more: dict[str, Any] = {"multi_label": True, "val_fraction": 0.5, "seed": seed, **CLIP}
        data = VideoFolderDataModule(str(motion_root), train_list=train, **more)
        data.setup()
        assert len(data.val_set) == 25  # of 49
        assert data.train_set.labels.sum(axis=0).min() > 0
        assert not set(data.train_set.video_ids) & set(data.val_set.video_ids)
        held.add(" ".join(data.val_set.video_ids))
    assert len(held) == 5


def test_flips_and_mixing_treat_every_class_of_a_clip() -> None:
    marks = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]])
    wanted = torch.tensor([True, True, True, True])
    mask = flip_mask(wanted, marks, [3])
    assert mask.tolist() == [True, True, True, False]
    flipped = flip_labels(marks, mask, {0: 1, 1: 0})
    assert flipped.tolist() == [[0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]
    shares = torch.full((4, 2, 2), 0.75)
    mixed = mix_labels(marks, shares, 4)
    expected = 0.75 * marks + 0.25 * marks.roll(-1, 0)
    torch.testing.assert_close(mixed, expected)


def test_mirrored_clips_carry_the_mirrored_classes(motion_root: Path, tmp_path: Path) -> None:
    write_label_lists(motion_root, tmp_path)
    pairs = [["left", "right"], ["anticlockwise", "clockwise"]]
    settings = {"flip_probability": 1.0, "flip_pairs": pairs, "mixup_alpha": 0.0}
    more = data_settings(**settings, num_frames=4, frame_stride=1, size=32)
    data = folder_data(motion_root, tmp_path, "multi", **more)
    data.setup()
    batch = collate_videos([data.train_set[SampleKey(0, i)] for i in range(64)])
    before = batch["label"].clone()
    after = augmented(data, batch)["label"]
    index = MULTI.index
    order = list(range(len(MULTI)))
    for one, other in (map(index, pair) for pair in pairs):
        order[one], order[other] = other, one
    torch.testing.assert_close(after, before[:, order])
    assert not torch.equal(after, before)


def test_reversals_are_refused(motion_root: Path, tmp_path: Path) -> None:
    write_label_lists(motion_root, tmp_path)
    pairs = [["grow", "shrink"]]
    reversing = data_settings(reversals=True, reverse_pairs=pairs, num_segments=4)
    with pytest.raises(UserError, match="reversals=true names the reversal of a clip's one class"):
        folder_data(motion_root, tmp_path, "multi", **reversing).setup()


def test_form_is_described_and_made_again() -> None:
    for form in (SINGLE, LabelForm("multi", (), "left_out"), LabelForm("columns", ("a", "b"))):
        assert LabelForm.of(form.as_dict()) == form
    assert LabelForm.of(None) == SINGLE
    for wrong in ({"kind": "many"}, {"columns": ["a"]}, {"kind": "columns"}, {"sort": "multi"}):
        with pytest.raises(UserError, match="no form of labels"):
            LabelForm.of(wrong)


def test_doctor_counts_every_class_of_a_video(motion_root: Path, tmp_path: Path) -> None:
    write_label_lists(motion_root, tmp_path)
    data = folder_data(motion_root, tmp_path, "multi", **CLIP)
    splits = read_lists(data)
    counts = dict(zip(MULTI, splits[0].per_class(len(MULTI)).tolist(), strict=True))
    assert counts == dict.fromkeys(MULTI, 8) | {"move": 32, "turn": 16}
    assert check_classes(splits, MULTI) == []
    same = [sorted(splits[0].present_paths().values())[place] for place in (0, -1)]
    (found,) = check_equal_files(splits, [same], official=False)
    assert "carry different labels" in found.sentence
    data.setup()
    (clip, *_) = draw_clips(data.train_set, [0, 63], MULTI.index("turn"))
    assert clip.video_id == data.train_set.video_ids[63]


NAMES = ["Holding some clothes", "Putting clothes somewhere", "Opening a door"]
HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"


def charades_row(video: str, subject: str, actions: str) -> str:
    return (
        f'{video},{subject},Bedroom,6,7,Yes,"A man, a door.",door,"He ""opens"".",{actions},9.5\n'
    )


TRAIN = {f"T{p}{i}XYZ"[:5]: f"P{p}" for p in range(4) for i in range(3)}
ACTIONS = ["c000 0.00 4.10;c001 3.20 9.00;c000 5.00 6.00", "c002 1.00 2.00", "c001 0.00 1.00"]


@pytest.mark.parametrize(
    ("lists", "place"),
    [
        ("", "Charades_v1_480/{}.mp4"),
        ("Charades", "{}.webm"),
        ("annotations", "Charades_v1_rgb/{}"),
    ],
)
def test_charades_is_read_as_it_is_downloaded(
    lists: str, place: str, tmp_path: Path, motion_root: Path
) -> None:
    folder = tmp_path / lists
    classes = [f"c{i:03d} {name}\n" for i, name in enumerate(NAMES)]
    write(folder / "Charades_v1_classes.txt", "".join(classes))
    train = [charades_row(v, s, ACTIONS[i % 3]) for i, (v, s) in enumerate(TRAIN.items())]
    write(folder / "Charades_v1_train.csv", HEADER + "".join(train))
    test = [charades_row("AAAAA", "Q1", ACTIONS[0]), charades_row("BBBBB", "Q2", "")]
    write(folder / "Charades_v1_test.csv", HEADER + "".join(test))
    place_videos(motion_root, tmp_path, [place.format(v) for v in [*TRAIN, "AAAAA", "BBBBB"]])
    data = CharadesDataModule(str(tmp_path), val_fraction=0.25, **CLIP)
    with data.remarks.collected() as said:
        data.setup()
    assert data.class_names == NAMES
    assert data.label_form == LabelForm("multi", (), "left_out")
    assert data.test_set.labels.tolist() == [[1, 1, 0], [0, 0, 0]]
    assert data.test_set.missing == data.train_set.missing == []
    held = {TRAIN[video] for video in data.val_set.video_ids}
    assert len(data.val_set) == 3  # a person
    assert len(held) == 1
    assert not held & {TRAIN[video] for video in data.train_set.video_ids}
    sentences = " ".join(remark.sentence for remark in said)
    assert "train: the list names 12 videos, the official one 7985" in sentences
    assert "names 3 classes, the official list 157" in sentences


def test_damaged_charades_lists_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "Charades_v1_classes.txt", "c000 A\nc002 B\n")
    with pytest.raises(UserError, match="c000 NAME"):
        _ = CharadesDataModule(str(tmp_path), **CLIP).class_names
    write(tmp_path / "Charades_v1_classes.txt", "c000 A\nc001 B\n")
    write(tmp_path / "Charades_v1_train.csv", HEADER + charades_row("AAAAA", "P", "c007 0 1"))
    write(tmp_path / "Charades_v1_test.csv", HEADER + charades_row("BBBBB", "P", "c001 0 1"))
    with pytest.raises(UserError, match=r"the class 'c007' of .*AAAAA"):
        CharadesDataModule(str(tmp_path), val_fraction=0, **CLIP).setup()


def test_missing_videos_are_listed_with_their_classes(motion_root: Path, tmp_path: Path) -> None:
    write_label_lists(motion_root, tmp_path)
    listed = tmp_path / "multi_test.csv"
    listed.write_text(listed.read_text() + "\nnowhere.mp4,move;left\n")
    data = folder_data(motion_root, tmp_path, "multi", **CLIP)
    data.setup()
    (path,) = data.write_missing(tmp_path)
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {"video_id": "nowhere.mp4", "class": "left; move", "path": "nowhere.mp4"}
