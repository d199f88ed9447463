"""Diving48 in every layout, with both kinds of labels."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from dataset_trees import CLIP, first_clip, labelled, located, place_videos, write

from datamodules import Diving48DataModule
from datamodules.annotations.listed_videos import ListedVideo

VOCABULARY = [
    ["Back", "15som", "05Twis", "FREE"],
    ["Back", "15som", "NoTwis", "PIKE"],
    ["Inward", "25som", "NoTwis", "TUCK"],
]
CLASSES = ["Back+15som+05Twis+FREE", "Back+15som+NoTwis+PIKE", "Inward+25som+NoTwis+TUCK"]
COMPETITIONS = ["-8Vy3dlHg2w", "_9Vy3dlHg2w", "AbC_dEf-hIj"]
NAMES = {
    split: [(f"{video}_{10 * label + number:05d}", label) for label in range(3) for video in videos]
    for split, videos, number in (("train", COMPETITIONS, 0), ("test", ["zzz_dEf-hIj"], 4))
}


def write_lists(folder: Path, version: str = "V2_", shift: int = 0) -> None:
    write(folder / "Diving48_vocab.json", json.dumps(VOCABULARY, indent=2))
    for split, rows in NAMES.items():
        entries = [
            {"vid_name": name, "label": (label + shift) % 3, "start_frame": 0, "end_frame": 93}
            for name, label in rows
        ]
        write(folder / f"Diving48_{version}{split}.json", json.dumps(entries))


LAYOUTS = {
    "as downloaded": ("", "rgb/{}.mp4"),
    "folder of annotations": ("annotations", "videos/{}.mp4"),
    "beside the lists": ("", "{}.mp4"),
    "encoded anew": ("", "rgb/{}.webm"),
    "frame folders": ("annotations", "rawframes/{}"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_read(layout: str, tmp_path: Path, motion_root: Path) -> None:
    folder, place = LAYOUTS[layout]
    write_lists(tmp_path / folder)
    place_videos(
        motion_root, tmp_path, [place.format(n) for rows in NAMES.values() for n, _ in rows]
    )
    data = Diving48DataModule(str(tmp_path), val_fraction=0.3, **CLIP)
    data.setup()
    assert data.class_names == CLASSES
    parts = [labelled(part) for part in (data.train_set, data.val_set, data.test_set)]
    assert parts[0] | parts[1] == dict(NAMES["train"])
    assert parts[2] == dict(NAMES["test"])
    for part in (data.train_set, data.val_set, data.test_set):
        assert part.missing == []
        assert located(part) == {name: place.format(name) for name in part.video_ids}
    assert first_clip(data.train_set) == (1, 3, 4, 32, 32)


def test_validation_takes_whole_competitions(tmp_path: Path) -> None:
    write_lists(tmp_path)
    data = Diving48DataModule(str(tmp_path), val_fraction=0.3, allow_missing=True, **CLIP)
    data.setup()
    groups = [{name[:11] for name in part.video_ids} for part in (data.train_set, data.val_set)]
    assert [len(group) for group in groups] == [2, 1]
    assert groups[0] | groups[1] == set(COMPETITIONS)
    missing = [name for name, _ in NAMES["test"]]
    assert data.test_set.missing == missing
    target = data.write_missing(tmp_path)[-1]
    assert target.read_text().splitlines()[1] == f"{missing[0]},{CLASSES[0]},rgb/{missing[0]}.mp4"


@pytest.mark.parametrize(("version", "prefix"), [("v1", ""), ("v1", "V1_"), ("v2", "V2_")])
def test_labels_are_those_of_the_version(
    version: Literal["v1", "v2"], prefix: str, tmp_path: Path
) -> None:
    write_lists(tmp_path, "V1_" if version == "v2" else "V2_", shift=1)
    write_lists(tmp_path, prefix, shift=2)
    data = Diving48DataModule(str(tmp_path), version, allow_missing=True, val_fraction=0, **CLIP)
    data.setup()
    assert labelled(data.test_set) == {name: (label + 2) % 3 for name, label in NAMES["test"]}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "V2_train",
            [{"vid_name": "a_0"}],
            r"entry 1 of .* must be an object with vid_name",
        ),
        (
            "V2_train",
            [{"vid_name": "a_0", "label": 48}],
            "class '48' of .* not among the 3 cl",
        ),
        (
            "V2_train",
            [{"vid_name": "a", "label": 0}],
            r"a is no <YouTube id>_<number>, so .*val",
        ),
        ("V2_train", [{"vid_name": "../../a_0", "label": 0}], "leads out of"),
        ("vocab", {"Back": 0}, "a list with the four words of each class, but has '0'"),
        ("vocab", ["Back"], "a list with the four words of each class, but has 'Back'"),
    ],
)
def test_unusable_lists_are_refused(name: str, content: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no Diving48_V2_train\.json in .*data\.annotations"):
        Diving48DataModule(str(tmp_path), **CLIP).setup()
    write_lists(tmp_path)
    write(tmp_path / f"Diving48_{name}.json", json.dumps(content))
    with pytest.raises(ValueError, match=sentence):
        Diving48DataModule(str(tmp_path), allow_missing=True, **CLIP).setup()


def test_real_list_has_the_official_counts(test_data: Path, tmp_path: Path) -> None:
    for path in (test_data / "annotations" / "diving48").iterdir():
        (tmp_path / path.name).symlink_to(path)
    write(tmp_path / "Diving48_V2_test.json", '[{"vid_name": "AbCdEfGhIjK_00000", "label": 30}]')
    data = Diving48DataModule(str(tmp_path), allow_missing=True, **CLIP)
    data.setup()
    assert data.official_counts() == {"train": 15027, "test": 1970}
    assert data.num_classes == len(set(data.class_names)) == 48
    assert data.class_names[0] == "Back+15som+05Twis+FREE"
    assert len(data.train_set) + len(data.val_set) == 15027
    assert data.group_of(ListedVideo("", "0", "-mmq0PT-u8k_00155")) == "-mmq0PT-u8k"
    assert list(data.test_set.groups) == ["AbCdEfGhIjK"]
    parts = (data.train_set, data.val_set)
    groups = [{name.rpartition("_")[0] for name in part.video_ids} for part in parts]
    assert [len(groups[0]) + len(groups[1]), len(groups[0] & groups[1])] == [58, 0]
    # the corrected labels leave no training video to class 30
    assert set(data.train_set.labels.tolist()) == set(range(48)) - {30}
