"""FineGym as cut elements, as events and as whole videos, with the times of both."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from dataset_trees import CLIP, first_clip, labelled, located, place_videos, write

from datamodules import FineGymDataModule
from datamodules.annotations.listed_videos import ListedVideo

VIDEOS = ["-0A_E_xXysH", "AZ_A_000_Rc"]
EVENTS = {"E_000002_000005": 2.25, "E_000100_000140": 100.5}
"""Key of each event, and when it really begins."""
ELEMENTS = {"A_0000_0000": [[0.25, 0.75]], "A_0001_0003": [[1.0, 2.0], [2.0, 3.5]]}
"""Key of each element, and when its stages really are."""
WHOLE_SECONDS = {"A_0000_0000": [[0, 1]], "A_0001_0003": [[1, 4]]}
"""When they are by their keys alone: all of the seconds that these name."""
NAMES = {
    split: [
        (f"{video}_{event}_{element}", str((i + j) % 3))
        for i, event in enumerate(EVENTS)
        for j, element in enumerate(ELEMENTS)
    ]
    for split, video in zip(("train", "val"), VIDEOS, strict=True)
}
CLASSES = [
    "(BB) turn, in tuck [set 3]",
    "(VT) half; (1) turn",
    "(BB) turn, in tuck [set 5]",
]
CATEGORIES = """\
Clabel:   0; set:  3; Glabel:   6; (BB) turn, in tuck
Clabel:   2; set:  5; Glabel:   9; (BB) turn, in tuck
Clabel:   1; set:  1; Glabel:   1; (VT) half; (1) turn
"""


def write_lists(folder: Path, classes: int = 99, version: str = "v1.0") -> None:
    names = {"train": f"train_element_{version}", "val": "val_element"}
    for split, rows in NAMES.items():
        text = "".join(f"{name} {label}\n" for name, label in rows)
        write(folder / f"gym{classes}_{names[split]}.txt", text)
    write(folder / f"gym{classes}_categories.txt", CATEGORIES)


def write_times(path: Path, elements: dict[str, Any] | None = None) -> None:
    segments = {
        key: {"timestamps": stages, "stages": len(stages)}
        for key, stages in (ELEMENTS if elements is None else elements).items()
    }
    events = {
        key: {"event": 1, "timestamps": [[start, start + 4]], "segments": segments or None}
        for key, start in EVENTS.items()
    }
    write(path, json.dumps(dict.fromkeys(VIDEOS, events)))


LAYOUTS = {
    "elements": ("", "subactions/{element}.mp4"),
    "elements, another suffix": ("annotations", "subactions/{element}.mkv"),
    "frames of elements": ("", "subaction_frames/{element}"),
    "elements among the lists": ("", "{element}.mp4"),
    "events": ("annotations", "events/{event}.mp4"),
    "videos": ("annotations", "videos/{video}.mp4"),
    "videos beside the lists": ("", "{video}.webm"),
}


@pytest.mark.parametrize("timed", [True, False], ids=["annotated", "whole seconds"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_read(layout: str, timed: bool, tmp_path: Path, motion_root: Path) -> None:
    folder, form = LAYOUTS[layout]
    write_lists(tmp_path / folder)
    if timed:
        write_times(tmp_path / folder / "finegym_annotation_info_v1.0.json")
    expected, times = {}, {}
    for name, _ in NAMES["train"] + NAMES["val"]:
        video, event, element = name[:11], name[12:27], name[28:]
        words = {"video": video, "event": f"{video}_{event}", "element": name}
        expected[name] = form.format(**words)
        offset = 0.0 if "event" in form else EVENTS[event] if timed else int(event[2:8])
        stages = ELEMENTS[element] if timed else WHOLE_SECONDS[element]
        times[name] = (offset + stages[0][0], offset + stages[-1][1])
    place_videos(motion_root, tmp_path, set(expected.values()))
    data = FineGymDataModule(str(tmp_path), **CLIP)
    data.setup()
    assert data.class_names == CLASSES
    assert data.test_split_name == "validation"
    for part, split in ((data.train_set, "train"), (data.val_set, "val"), (data.test_set, "val")):
        assert labelled(part) == {name: int(label) for name, label in NAMES[split]}
        assert part.missing == []
        assert located(part) == {name: expected[name] for name in part.video_ids}
        whole = np.full((2, len(part)), np.nan, np.float32)
        cut = np.array([times[name] for name in part.video_ids], np.float32).T
        found = np.stack([part.table.starts, part.table.ends])
        np.testing.assert_array_equal(found, whole if "{element}" in form else cut)


def test_elements_are_cut_out_of_an_event(tmp_path: Path, motion_root: Path) -> None:
    write_lists(tmp_path)
    names = {name[:27] for name, _ in NAMES["train"] + NAMES["val"]}
    place_videos(motion_root, tmp_path, [f"events/{name}.mp4" for name in names])
    write_times(tmp_path / "annotation.json", {key: [[0.1, 0.5]] for key in ELEMENTS})
    data = FineGymDataModule(str(tmp_path), **CLIP)
    data.setup()
    assert data.train_set.table.ends.tolist() == [0.5] * 4
    assert first_clip(data.train_set) == (1, 3, 4, 32, 32)


def test_cut_elements_go_before_events_and_those_before_videos(
    tmp_path: Path, motion_root: Path
) -> None:
    write_lists(tmp_path)
    names = [name for name, _ in NAMES["train"]]
    files = [f"subactions/{names[0]}.mp4", f"events/{names[0][:27]}.mp4", f"videos/{VIDEOS[0]}.mp4"]
    place_videos(motion_root, tmp_path, files)
    data = FineGymDataModule(str(tmp_path), allow_missing=True, **CLIP)
    data.setup()
    expected = dict(zip(names, [files[0], files[1], files[2], files[2]], strict=True))
    assert located(data.train_set) == expected
    assert data.train_set.table.starts.tolist()[1:] == [1, 100, 101]
    assert data.val_set.missing == [name for name, _ in NAMES["val"]]
    target = data.write_missing(tmp_path)[0]
    name = NAMES["val"][0][0]
    assert target.read_text().splitlines()[1] == f'{name},"{CLASSES[0]}",subactions/{name}.mp4'


def test_frame_folders_of_events_do_not_tell_times(tmp_path: Path, motion_root: Path) -> None:
    write_lists(tmp_path)
    place_videos(motion_root, tmp_path, [f"events/{NAMES['train'][0][0][:27]}"])
    data = FineGymDataModule(str(tmp_path), allow_missing=True, **CLIP)
    data.setup()
    assert len(data.train_set.missing) == 4


@pytest.mark.parametrize("classes", [99, 288])
@pytest.mark.parametrize("version", ["v1.0", "v1.1"])
def test_lists_are_those_that_were_asked_for(
    classes: Literal[99, 288], version: Literal["v1.0", "v1.1"], tmp_path: Path
) -> None:
    write_lists(tmp_path, classes, version)
    data = FineGymDataModule(str(tmp_path), classes, version, allow_missing=True, **CLIP)
    data.setup()
    assert len(data.train_set) == 4
    other = "v1.1" if version == "v1.0" else "v1.0"
    with pytest.raises(ValueError, match=rf"no gym{classes}_train.*; set data\.version={version}"):
        FineGymDataModule(str(tmp_path), classes, other, allow_missing=True, **CLIP).setup()


TRAIN, TIMES = "gym99_train_element_v1.0.txt", "finegym_annotation_info_v1.0.json"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (TRAIN, "abc_E_000001_000002_A_0001_0002\n", "but a line is <clip id> <class id>"),
        (TRAIN, "abc 0\n", "'abc' is no <YouTube id>_E_"),
        (TRAIN, "x_E_000001_000002_A_0001_0002 99\n", "class '99' of .* not among the 3 classes"),
        (TRAIN, "../../x_E_000001_000002_A_0001_0002 0\n", "leads out of"),
        ("gym99_categories.txt", "0 turn\n", "must hold one class a line, Clabel: <id>"),
        ("gym99_categories.txt", CATEGORIES.split("\n", 1)[1], "with ids from 0"),
        (TIMES, "[]", r"FineGym v1\.0 has no times of -0A_E_xXysH_E_000002_000005_A_0000_0000"),
        (TIMES, '{"-0A_E_xXysH": {"E_000002_000005": {"segments": null}}}', "has no times of -0A"),
        (TIMES, "Not found", "is not the JSON of an official list"),
    ],
)
def test_unusable_lists_are_refused(
    name: str, text: str, sentence: str, tmp_path: Path, motion_root: Path
) -> None:
    with pytest.raises(ValueError, match=r"no gym99_train_element_v1\.0\.txt .*data\.annotations"):
        FineGymDataModule(str(tmp_path), **CLIP).setup()
    write_lists(tmp_path)
    place_videos(motion_root, tmp_path, [f"videos/{name}.mp4" for name in VIDEOS])
    write(tmp_path / name, text)
    with pytest.raises(ValueError, match=sentence):
        FineGymDataModule(str(tmp_path), allow_missing=True, **CLIP).setup()


@pytest.mark.parametrize(("version", "train"), [("v1.0", 20484), ("v1.1", 26320)])
def test_real_lists_have_the_official_counts(
    version: Literal["v1.0", "v1.1"], train: int, test_data: Path, tmp_path: Path
) -> None:
    lists = str(test_data / "annotations" / "finegym")
    data = FineGymDataModule(str(tmp_path), 99, version, lists, allow_missing=True, **CLIP)
    data.setup()
    assert data.official_counts() == {"train": train, "val": 8521}
    assert [len(data.train_set), len(data.val_set), len(data.test_set)] == [train, 8521, 8521]
    assert set(data.train_set.labels.tolist()) == set(range(99))
    first = data.train_set.video_ids[0]
    assert first == "A0xAXXysHUo_E_002184_002237_A_0035_0036"
    assert data.group_of(ListedVideo("", "0", first)) == "A0xAXXysHUo"
    pairs = zip(data.test_set.groups, data.test_set.video_ids, strict=True)
    assert all(name.startswith(f"{group}_E_") for group, name in pairs)


def test_official_counts_of_gym288(tmp_path: Path) -> None:
    for version, train in (("v1.0", 22671), ("v1.1", 29334)):
        data = FineGymDataModule(str(tmp_path), 288, version, **CLIP)
        assert data.official_counts() == {"train": train, "val": 9646}


@pytest.mark.parametrize("classes", [99, 288])
def test_real_classes_have_names_of_their_own(classes: Literal[99, 288], test_data: Path) -> None:
    lists = test_data / "annotations" / "finegym"
    names = FineGymDataModule(str(lists), classes, **CLIP).class_names
    assert len(set(names)) == classes
    assert sum("[set " in name for name in names) == {99: 2, 288: 6}[classes]
    assert all(name.startswith(("(VT) ", "(FX) ", "(BB) ", "(UB) ")) for name in names)
