"""Something-Something V1 and V2 in every layout, naming and order of classes."""

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from dataset_trees import CLIP, first_clip, labelled, located, place_videos, write
from grouped import data_settings

from datamodules import SomethingSomethingV1DataModule, SomethingSomethingV2DataModule
from datamodules.annotations.text_files import read_lines
from datamodules.augmentation.pipeline import StandardAugmentation

LEFT_RIGHT = (
    "Pulling something from left to right",
    "Pulling something from right to left",
    "Pushing something from left to right",
    "Pushing something from right to left",
    "Turning the camera left while filming something",
    "Turning the camera right while filming something",
)
"""The classes that SELFY's training does not mirror, in sorted order."""
CLASSES = ["Holding something", LEFT_RIGHT[1], "Approaching something, with camera", LEFT_RIGHT[0]]
ORDER = sorted(CLASSES)
LISTED = {
    split: [(str(first + label), name) for label, name in enumerate(CLASSES * count)]
    for split, first, count in (("train", 90, 2), ("validation", 7, 1))
}
IDS = {split: [name for name, _ in rows] for split, rows in LISTED.items()}


def write_csv(folder: Path, prefix: str = "something-something-v1-") -> None:
    write(folder / f"{prefix}labels.csv", "".join(f"{name}\n" for name in CLASSES))
    for split, rows in LISTED.items():
        write(folder / f"{prefix}{split}.csv", "".join(f"{i};{name}\n" for i, name in rows))
    write(folder / f"{prefix}test.csv", "1\n2\n")


def write_json(folder: Path, prefix: str) -> None:
    labels = {name: str(ORDER.index(name)) for name in CLASSES}
    write(folder / f"{prefix}labels.json", json.dumps(labels, indent=1))
    for split, rows in LISTED.items():
        entries = [
            {
                "id": i,
                "label": name.replace("something", "a cup"),
                "template": name.replace("something", "[something]"),
                "placeholders": ["a cup"],
            }
            for i, name in rows
        ]
        write(folder / f"{prefix}{split}.json", json.dumps(entries))
    write(folder / f"{prefix}test.json", json.dumps([{"id": "1"}, {"id": "2"}]))
    write(folder / "test-answers.csv", f"1;{CLASSES[0]}\n2;{CLASSES[1]}\n")


def expect(data: Any, place: str, order: list[str]) -> None:
    """Both splits are read as they were written, each video from its own place."""
    data.setup()
    assert data.class_names == order
    assert data.test_split_name == "validation"
    for dataset, split in (
        (data.train_set, "train"),
        (data.val_set, "validation"),
        (data.test_set, "validation"),
    ):
        assert labelled(dataset) == {name: order.index(text) for name, text in LISTED[split]}
        assert dataset.missing == []
        assert located(dataset) == {name: place.format(name) for name in IDS[split]}
    assert first_clip(data.test_set) == (1, 3, 4, 32, 32)


V1_LAYOUTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "as downloaded": (write_csv, "20bn-something-something-v1/{}"),
    "lists in a folder": (lambda root: write_csv(root / "annotations"), "rawframes/{}"),
    "short names of lists": (lambda root: write_csv(root / "labels", ""), "frames/{}"),
    "frame folders in the root": (write_csv, "{}"),
    "encoded": (write_csv, "videos/{}.mp4"),
}


@pytest.mark.parametrize("layout", V1_LAYOUTS)
def test_v1_layout_is_read(layout: str, tmp_path: Path, motion_root: Path) -> None:
    write_lists, place = V1_LAYOUTS[layout]
    write_lists(tmp_path)
    place_videos(motion_root, tmp_path, map(place.format, chain(*IDS.values())))
    expect(SomethingSomethingV1DataModule(str(tmp_path), **CLIP), place, ORDER)


@pytest.mark.parametrize(("order", "names"), [("sorted", ORDER), ("file", CLASSES)])
def test_v1_classes_come_in_either_order(order: Any, names: list[str], tmp_path: Path) -> None:
    write_csv(tmp_path)
    data = SomethingSomethingV1DataModule(str(tmp_path), order, allow_missing=True, **CLIP)
    data.setup()
    assert data.class_names == names
    assert labelled(data.val_set) == {i: names.index(text) for i, text in LISTED["validation"]}
    # names stay with their videos, whatever their numbers
    listed = zip(data.train_set.video_ids, data.train_set.labels, strict=True)
    assert {i: names[label] for i, label in listed} == dict(LISTED["train"])


V2_LAYOUTS: dict[str, tuple[str, str]] = {
    "as downloaded": ("labels/", "20bn-something-something-v2/{}.webm"),
    "first release": ("something-something-v2-", "20bn-something-something-v2/{}.webm"),
    "lists in a folder": ("annotations/something-something-v2-", "{}.webm"),
    "newer lists in a folder": ("annotations/labels/", "videos/{}.webm"),
    "encoded anew": ("labels/", "20bn-something-something-v2/{}.mp4"),
    "frames of TSM": ("something-something-v2-", "20bn-something-something-v2-frames/{}"),
    "frames of mmaction2": ("annotations/something-something-v2-", "rawframes/{}"),
}


@pytest.mark.parametrize("layout", V2_LAYOUTS)
def test_v2_layout_is_read(layout: str, tmp_path: Path, motion_root: Path) -> None:
    prefix, place = V2_LAYOUTS[layout]
    folder, _, start = prefix.rpartition("/")
    write_json(tmp_path / folder, start)
    place_videos(motion_root, tmp_path, map(place.format, chain(*IDS.values())))
    expect(SomethingSomethingV2DataModule(str(tmp_path), **CLIP), place, ORDER)


def test_lists_may_lie_anywhere_and_missing_videos_are_written(
    tmp_path: Path, motion_root: Path
) -> None:
    write_json(tmp_path / "lists", "")
    root = tmp_path / "20bn-something-something-v2"
    place_videos(motion_root, root, [f"{name}.webm" for name in IDS["train"]])
    data = SomethingSomethingV2DataModule(
        str(root), annotations="../lists", allow_missing=True, **CLIP
    )
    data.setup()
    assert data.train_set.missing == []
    assert data.val_set.missing == IDS["validation"]
    assert [path.name for path in data.write_missing(tmp_path)] == [
        "missing_val.csv",
        "missing_test.csv",
    ]
    rows = (tmp_path / "missing_val.csv").read_text().splitlines()
    assert rows[3] == '9,"Approaching something, with camera",20bn-something-something-v2/9.webm'


def test_left_and_right_are_never_mirrored_unless_said_otherwise(tmp_path: Path) -> None:
    write_csv(tmp_path)
    write_json(tmp_path, "")
    for kind in (SomethingSomethingV1DataModule, SomethingSomethingV2DataModule):
        for options, exempt in (
            ({}, sorted(LEFT_RIGHT[:2])),
            ({"flip_exempt": []}, []),
            ({"flip_exempt": [CLASSES[0]]}, [CLASSES[0]]),
            ({"flip_pairs": [LEFT_RIGHT[:2]]}, []),
        ):
            given = {**CLIP, **data_settings(**options)}
            data = kind(str(tmp_path), allow_missing=True, **given)
            data.setup()
            assert isinstance(data.augmentation, StandardAugmentation)
            mirrored = data.augmentation.mirrored(data.class_info)
            assert list(mirrored.never_mirrored) == exempt
            assert data.augmentation.flip_probability == 0.5


def test_validation_list_of_v2_alone_is_enough_for_a_test(
    tmp_path: Path, motion_root: Path
) -> None:
    write_json(tmp_path, "")
    for name in ("train", "labels", "test"):
        (tmp_path / f"{name}.json").unlink()
    place_videos(motion_root, tmp_path, [f"videos/{name}.webm" for name in IDS["validation"]])
    data = SomethingSomethingV2DataModule(str(tmp_path), **CLIP)
    with data.remarks.collected() as said:
        data.setup("test")
    assert data.class_names == ORDER
    assert labelled(data.test_set) == {n: ORDER.index(c) for n, c in LISTED["validation"]}
    assert first_clip(data.test_set) == (1, 3, 4, 32, 32)
    assert "nothing to train on" in " ".join(remark.sentence for remark in said)
    assert "the lists name 4 classes" in " ".join(remark.sentence for remark in said)
    with pytest.raises(ValueError, match="there is no training video"):
        data.train_dataloader()


V1, V2 = SomethingSomethingV1DataModule, SomethingSomethingV2DataModule
TRAIN_1, TRAIN_2 = "something-something-v1-train.csv", "labels/train.json"


@pytest.mark.parametrize(
    ("kind", "name", "text", "sentence"),
    [
        (
            V1,
            TRAIN_1,
            "4711,Holding something\n",
            "the line '4711,.* but a line is <id>;<class>",
        ),
        (V1, TRAIN_1, "4711;Jumping\n", "'Jumping' of .*4711 is not among the 4 classes"),
        (V1, TRAIN_1, "../../x;Holding something\n", "leads out of"),
        (V1, TRAIN_1, "7;Holding something\n", r"1 video\(s\) are listed both for training and"),
        (V1, TRAIN_1, "1;Holding something\n" * 2, "1 is listed twice"),
        (
            V2,
            TRAIN_2,
            '[{"id": "1"}]',
            r"entry 1 of .*\.json must be an object with id, templ",
        ),
        (V2, TRAIN_2, '[["1", "x"]]', "entry 1 of .* must be an object"),
        (V2, TRAIN_2, '{"1": "x"}', "entry 1 of .* must be an object"),
        (V2, TRAIN_2, '[{"id": "1", "template": "[x]"}]', "class 'x' .* not among the 4 classes"),
        (V2, TRAIN_2, "1;Holding something\n", "is not the JSON of an official list"),
        (V2, "labels/labels.json", '{"a": "0", "b": "0"}', "each name and id once"),
        (V2, "labels/labels.json", '{"a": ["0"]}', "a JSON list of class names, or names with"),
    ],
)
def test_unusable_lists_are_refused(
    kind: Any, name: str, text: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"no something-something-v\d-[lv].* set data\.root"):
        kind(str(tmp_path), allow_missing=True, **CLIP).setup()
    write_csv(tmp_path)
    write_json(tmp_path / "labels", "")
    write(tmp_path / name, text)
    with pytest.raises(ValueError, match=sentence):
        kind(str(tmp_path), allow_missing=True, **CLIP).setup()


def test_real_lists_of_v2_are_read(test_data: Path, tmp_path: Path) -> None:
    lists = test_data / "annotations" / "something_something_v2"
    data = SomethingSomethingV2DataModule(str(tmp_path), str(lists), **CLIP)
    assert data.num_classes == 174
    assert data.class_names == sorted(data.class_names)
    labels = data.class_index()
    assert [labels[name] for name in LEFT_RIGHT] == [86, 87, 93, 94, 166, 167]
    assert sorted(data.class_info.never_mirrored) == list(LEFT_RIGHT)
    assert labels["Approaching something with your camera"] == 0


def test_real_pairs_are_read_in_the_form_of_v1(test_data: Path, tmp_path: Path) -> None:
    lists = test_data / "annotations" / "something_something_v2"
    answers = read_lines(lists / "test-answers.csv")
    classes = {line.partition(";")[2] for line in answers}
    write(tmp_path / "something-something-v1-labels.csv", "\n".join(classes))
    write(tmp_path / "something-something-v1-train.csv", "\n".join(answers[2000:]))
    write(tmp_path / "something-something-v1-validation.csv", "\n".join(answers[:2000]))
    data = SomethingSomethingV1DataModule(str(tmp_path), allow_missing=True, **CLIP)
    data.setup()
    official = SomethingSomethingV2DataModule(str(tmp_path), str(lists), **CLIP)
    assert data.class_names == official.class_names
    assert [len(data.train_set), len(data.val_set)] == [25157, 2000]
    assert len(data.class_info.never_mirrored) == 6


@pytest.mark.parametrize(
    ("kind", "folder", "train", "val"),
    [
        (SomethingSomethingV1DataModule, "something_something_v1", 86017, 11522),
        (SomethingSomethingV2DataModule, "something_something_v2", 168913, 24777),
    ],
)
def test_real_lists_have_the_official_counts(
    kind: Any, folder: str, train: int, val: int, test_data: Path, tmp_path: Path
) -> None:
    lists = test_data / "annotations" / folder
    assert kind(str(tmp_path), **CLIP).official_counts() == {"train": train, "val": val}
    if not list(lists.glob("*train.*")) or not list(lists.glob("*validation.*")):
        pytest.skip(f"the training and validation lists are not in {lists}")
    data = kind(str(tmp_path), annotations=str(lists), allow_missing=True, **CLIP)
    data.setup()
    assert [len(data.train_set), len(data.val_set), data.num_classes] == [train, val, 174]
