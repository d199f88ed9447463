"""Kinetics in every layout, naming and form of list that people have."""

import json
from pathlib import Path
from typing import Any

import pytest
from dataset_trees import CLIP, first_clip, labelled, located, place_videos, write

from datamodules import KineticsDataModule
from datamodules.video.suffixes import letters_of

CLASSES = ["bee keeping", "skiing (not slalom)", "skiing crosscountry", "tying knot (not on a tie)"]
ROWS = {
    split: [
        (name, f"-{start % 100:02d}_{split[0]}{label:06d}", start, start + 10)
        for label, name in enumerate(CLASSES)
        for start in starts
    ]
    for split, starts in (("train", (0, 7)), ("val", (123,)))
}
HEADER = "label,youtube_id,time_start,time_end,split"


def video_id(row: tuple[str, str, int, int]) -> str:
    return f"{row[1]}_{row[2]:06d}_{row[3]:06d}"


def csv_of(split: str, header: str = HEADER) -> str:
    values = [
        {
            "label": f'"{name}"',
            "youtube_id": youtube_id,
            "time_start": str(start),
            "time_end": f"{end}.0",
            "split": split,
            "is_cc": "0",
        }
        for name, youtube_id, start, end in ROWS[split]
    ]
    names = header.split(",")
    return "".join(
        f"{line}\n" for line in [header, *(",".join(v[n] for n in names) for v in values)]
    )


def write_lists(folder: Path, names: dict[str, str] | None = None) -> None:
    for split, name in (names or {"train": "train.csv", "val": "val.csv"}).items():
        write(folder / name, csv_of(split))


def class_folder(name: str) -> str:
    return name.replace(" ", "_").replace("(", "").replace(")", "")


LAYOUTS = {
    "hosted by CVDF": "{split}/{id}.mp4",
    "arranged by classes": "videos/{split}/{class}/{id}.mp4",
    "crawler, blanks": "{split}/{class}/{id}.mkv",
    "underscores": "videos_{split}/{underscored}/{id}.mp4",
    "without brackets": "{split}/{bare}/{id}.webm",
    "re-encoded": "{split}_256/{bare}/{id}.avi",
    "bare ids": "{split}/{class}/{youtube}.mp4",
    "bare ids, flat": "{split}/{youtube}.mp4",
    "bare ids, both splits together": "videos/{youtube}.mp4",
    "class folders only": "{class}/{id}.mp4",
    "frame folders": "rawframes_{split}/{underscored}/{id}",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_read(layout: str, tmp_path: Path, motion_root: Path) -> None:
    write_lists(tmp_path / "annotations")
    expected = {
        video_id(row): LAYOUTS[layout].format(
            **{"split": split, "class": row[0], "underscored": row[0].replace(" ", "_")},
            bare=class_folder(row[0]),
            id=video_id(row),
            youtube=row[1],
        )
        for split, rows in ROWS.items()
        for row in rows
    }
    place_videos(motion_root, tmp_path, expected.values())
    data = KineticsDataModule(str(tmp_path), **CLIP)
    data.setup()
    assert data.class_names == CLASSES
    assert data.test_split_name == "validation"
    for dataset, split in (
        (data.train_set, "train"),
        (data.val_set, "val"),
        (data.test_set, "val"),
    ):
        assert labelled(dataset) == {video_id(row): CLASSES.index(row[0]) for row in ROWS[split]}
        assert dataset.missing == []
        assert located(dataset) == {name: expected[name] for name in dataset.video_ids}
    assert first_clip(data.test_set) == (1, 3, 4, 32, 32)


LISTS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "DeepMind archive": (
        {"train": "kinetics400/train.csv", "val": "kinetics400/validate.csv"},
        {},
    ),
    "names with the dataset": (
        {"train": "annotations/kinetics-400_train.csv", "val": "annotations/kinetics-400_val.csv"},
        {},
    ),
    "lists of the 600": (
        {"train": "annotations/train.txt", "val": "annotations/val.txt"},
        {"version": "k600"},
    ),
    "named by the user": (
        {"train": "mini.csv", "val": "annotations/val.csv"},
        {"train_list": "mini.csv"},
    ),
    "in another folder": ({"train": "x/train.csv", "val": "x/val.csv"}, {"annotations": "x"}),
}


@pytest.mark.parametrize("form", LISTS)
@pytest.mark.parametrize(
    "header",
    [HEADER, f"{HEADER},is_cc", "split,time_end,youtube_id,label,time_start", None],
    ids=["plain", "is_cc", "another order", "no header"],
)
def test_list_is_found_and_read(form: str, header: str | None, tmp_path: Path) -> None:
    names, options = LISTS[form]
    for split, name in names.items():
        text = csv_of(split, header or HEADER)
        write(tmp_path / name, text if header else text.split("\n", 1)[1])
    data = KineticsDataModule(str(tmp_path), allow_missing=True, **options, **CLIP)
    data.setup()
    for dataset, split in ((data.train_set, "train"), (data.val_set, "val")):
        assert labelled(dataset) == {video_id(row): CLASSES.index(row[0]) for row in ROWS[split]}


def test_incomplete_lists_of_the_600_are_not_taken(tmp_path: Path) -> None:
    write_lists(tmp_path, {"train": "train.txt", "val": "val.txt"})
    write_lists(tmp_path)
    write(tmp_path / "train.csv", "\n".join(csv_of("train").split("\n")[:3]) + "\n")
    for version, count in (("k600", 8), ("k400", 2)):
        options: dict[str, Any] = {"version": version, "label_map": "map.txt"}
        write(tmp_path / "map.txt", "\n".join(CLASSES))
        data = KineticsDataModule(str(tmp_path), allow_missing=True, **options, **CLIP)
        data.setup()
        assert len(data.train_set) == count


def test_links_of_class_folders_and_replacements_are_followed(
    tmp_path: Path, motion_root: Path
) -> None:
    write_lists(tmp_path)
    rows = ROWS["val"]
    place_videos(motion_root, tmp_path, [f"raw/{video_id(row)}.mp4" for row in rows])
    for row in rows:
        link = tmp_path / "val" / row[0] / f"{video_id(row)}.mp4"
        link.parent.mkdir(parents=True)
        link.symlink_to(tmp_path / "raw" / link.name)
    intact = f"replacement/replacement_for_corrupted_k400/{video_id(rows[1])}.mp4"
    place_videos(motion_root, tmp_path, [intact])
    (tmp_path / "raw" / f"{video_id(rows[2])}.mp4").unlink()
    data = KineticsDataModule(str(tmp_path), allow_missing=True, **CLIP)
    data.setup()
    expected = {video_id(row): f"val/{row[0]}/{video_id(row)}.mp4" for row in rows}
    expected |= {video_id(rows[1]): intact}
    del expected[video_id(rows[2])]
    assert located(data.val_set) == expected
    assert data.val_set.missing == [video_id(rows[2])]


def test_bare_id_that_is_listed_twice_says_nothing(tmp_path: Path, motion_root: Path) -> None:
    write_lists(tmp_path)
    name, youtube_id, *_ = ROWS["train"][0]
    write(tmp_path / "train.csv", csv_of("train") + f"{name},{youtube_id},55,65,train\n")
    place_videos(motion_root, tmp_path, [f"train/{row[1]}.mp4" for row in ROWS["train"]])
    data = KineticsDataModule(str(tmp_path), allow_missing=True, **CLIP)
    data.setup()
    twice = [f"{youtube_id}_000000_000010", f"{youtube_id}_000055_000065"]
    assert data.train_set.missing == twice


@pytest.mark.parametrize(
    "content",
    [
        {name: label for label, name in enumerate(reversed(CLASSES))},
        {str(label): name for label, name in enumerate(reversed(CLASSES))},
        {f'"{name}"': label for label, name in enumerate(reversed(CLASSES))},
        CLASSES[::-1],
        "\n".join(name.replace(" ", "_") for name in reversed(CLASSES)),
    ],
    ids=["numbers of names", "names of numbers", "quoted", "list", "text"],
)
def test_label_map_decides_the_order(content: Any, tmp_path: Path) -> None:
    write_lists(tmp_path)
    text = content if isinstance(content, str) else json.dumps(content)
    name = "map.txt" if isinstance(content, str) else "map.json"
    write(tmp_path / name, text)
    data = KineticsDataModule(str(tmp_path), label_map=name, allow_missing=True, **CLIP)
    data.setup()
    assert [letters_of(n) for n in data.class_names] == [letters_of(n) for n in reversed(CLASSES)]
    labels = labelled(data.val_set)
    assert [labels[video_id(row)] for row in ROWS["val"]] == [3, 2, 1, 0]


def test_validation_alone_can_be_set_up(tmp_path: Path) -> None:
    write(tmp_path / "val.csv", csv_of("val"))
    data = KineticsDataModule(str(tmp_path), allow_missing=True, **CLIP)
    data.setup()
    assert [len(data.train_set), len(data.val_set), len(data.test_set)] == [0, 4, 4]
    assert data.class_names == CLASSES


@pytest.mark.parametrize(
    ("files", "options", "sentence"),
    [
        ({}, {}, r"no val\.csv .*set data\.root"),
        ({"train.csv": csv_of("train")}, {}, r"no val\.csv .*data\.annotations"),
        ({"val.csv": "youtube_id,time_start,time_end,split\nx,1,2,test\n"}, {}, "column 'label'"),
        ({"val.csv": f"{HEADER}\na,x,soon,later,val\n"}, {}, "the time 'soon'"),
        ({"val.csv": f"{HEADER}\na,x\n"}, {}, "row 1 of .* has fewer fields"),
        ({"val.csv": f"{HEADER}\na,../../x,1,2,val\n"}, {}, "leads out of"),
        ({"val.csv": csv_of("val") * 2}, {}, "the time 'time_start'"),
        ({"val.csv": csv_of("val") + csv_of("val").split("\n", 1)[1]}, {}, "is listed twice"),
        ({"val.csv": csv_of("val")}, {"train_list": "x.csv"}, r"no list file at x\.csv"),
        ({"val.csv": csv_of("val")}, {"annotations": "x"}, "there is no folder x"),
        ({"val.csv": f"{HEADER}\na b,x,1,2,val\nAB,y,1,2,val\n"}, {}, "of another class"),
        ({"val.csv": csv_of("val"), "m": "a\nb"}, {"label_map": "m"}, "not among the 2 classes"),
        ({"val.csv": csv_of("val"), "m.json": "{"}, {"label_map": "m.json"}, "a JSON list"),
        ({"val.csv": csv_of("val"), "m.json": "[[1]]"}, {"label_map": "m.json"}, "a JSON list"),
        ({"val.csv": csv_of("val"), "m.json": "3"}, {"label_map": "m.json"}, "a JSON list"),
    ],
)
def test_unusable_datasets_are_refused(
    files: dict[str, str], options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(ValueError, match=sentence):
        KineticsDataModule(str(tmp_path), allow_missing=True, **options, **CLIP).setup()


@pytest.mark.parametrize(("version", "count"), [("400", 400), ("600", 600), ("700", 700)])
def test_sorted_names_are_the_public_label_maps(version: str, count: int, test_data: Path) -> None:
    path = test_data / "annotations" / "kinetics" / f"label_map_k{version}.txt"
    names = path.read_text().splitlines()
    assert len(names) == count
    assert sorted(names) == names
    assert len({letters_of(name) for name in names}) == count


def test_real_lists_have_the_official_counts(test_data: Path, tmp_path: Path) -> None:
    lists = test_data / "annotations" / "kinetics"
    options: dict[str, Any] = {"annotations": str(lists), "allow_missing": True, **CLIP}
    data = KineticsDataModule(str(tmp_path), train_list=str(lists / "tiny_train.csv"), **options)
    data.setup()
    assert [len(data.train_set), len(data.val_set)] == [400, 19906]
    assert data.official_counts() == {"val": 19906}
    assert data.class_names == (lists / "label_map_k400.txt").read_text().splitlines()
    assert data.val_set.video_ids[0] == "0wR5jVB-WPk_000417_000427"
    assert data.train_set.video_ids[1] == "_axE99QAhe8_000026_000036"
    assert data.test_set.groups[0] == "0wR5jVB-WPk"
    assert {len(name) for name in data.test_set.groups} == {11}
    with pytest.raises(ValueError, match="column 'label'"):
        KineticsDataModule(
            str(tmp_path), val_list=str(lists / "kinetics-600_test.csv"), **options
        ).setup()
