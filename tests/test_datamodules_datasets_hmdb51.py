"""HMDB51 in every layout, with its odd file names."""

import re
from pathlib import Path
from typing import Literal

import pytest
from dataset_trees import CLIP, first_clip, labelled, located, place_videos, write

from datamodules import HMDB51DataModule
from datamodules.annotations.listed_videos import ListedVideo

CLASSES = ["climb", "climb_stairs", "sit"]
FILMS = ["#20_Film", "A[b](c)!", "X;Y&Z+1@~", "X;Y&Z+1@~_2", "plain"]
FLAGS = dict(zip(FILMS, "11120", strict=True))


def name_of(film: str, video_class: str) -> str:
    return f"{film}_{video_class}_u_nm_np1_ba_goo_0.avi"


def write_lists(folder: Path, number: int = 1) -> None:
    for video_class in CLASSES:
        lines = [f"{name_of(film, video_class)} {flag} \n" for film, flag in FLAGS.items()]
        write(folder / f"{video_class}_test_split{number}.txt", "".join(lines))


LAYOUTS = {
    "as downloaded": ("testTrainMulti_7030_splits", "hmdb51_org/{class}/{name}"),
    "class folders in the root": ("annotations", "{class}/{name}"),
    "lists beside the videos": ("", "{name}"),
    "another suffix": ("annotations/testTrainMulti_7030_splits", "videos/{class}/{stem}.mp4"),
    "frame folders": ("splits", "rawframes/{class}/{stem}"),
    "another spelling": ("lists", "hmdb51/{spelled}/{name}"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_read(layout: str, tmp_path: Path, motion_root: Path) -> None:
    lists, form = LAYOUTS[layout]
    write_lists(tmp_path / lists, number=3)
    expected = {}
    for video_class in CLASSES:
        for film in FILMS:
            name = name_of(film, video_class)
            words = {"class": video_class, "name": name, "stem": name.removesuffix(".avi")}
            place = form.format(**words, spelled=video_class.replace("_", " ").title())
            expected[f"{video_class}/{name}"] = place
    place_videos(motion_root, tmp_path, expected.values())
    data = HMDB51DataModule(str(tmp_path), split=3, val_fraction=0.3, **CLIP)
    data.setup()
    assert data.class_names == CLASSES
    parts = [labelled(part) for part in (data.train_set, data.val_set, data.test_set)]
    for flag, part in (("1", parts[0] | parts[1]), ("2", parts[2])):
        assert part == {
            f"{video_class}/{name_of(film, video_class)}": label
            for label, video_class in enumerate(CLASSES)
            for film in FILMS
            if FLAGS[film] == flag
        }
    for split in (data.train_set, data.val_set, data.test_set):
        assert split.missing == []
        assert located(split) == {name: expected[name] for name in split.video_ids}
    assert first_clip(data.test_set) == (1, 3, 4, 32, 32)


def test_validation_takes_whole_films(tmp_path: Path) -> None:
    write_lists(tmp_path)
    data = HMDB51DataModule(str(tmp_path), val_fraction=0.3, allow_missing=True, **CLIP)
    data.setup()
    held = {
        data.group_of(ListedVideo(name, name.split("/")[0], name))
        for name in data.val_set.video_ids
    }
    assert len(held) == 1
    assert len(data.val_set) == 3
    assert held < set(FILMS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a_sit_u_nm_np1_ba_goo_0.avi 3\n", r"line 'a_sit.* 3', but a line is .* 0, 1 or 2"),
        ("a_sit_u_nm_np1_ba_goo_0.avi\n", "but a line is a file name and"),
        ("a.avi 1\nb.avi 1\n", r"name of sit/a\.avi does not tell its film"),
    ],
)
def test_unusable_lists_are_refused(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no <class>_test_split1\.txt in .*data\.annotations"):
        HMDB51DataModule(str(tmp_path), **CLIP).setup()
    write(tmp_path / "sit_test_split1.txt", text)
    with pytest.raises(ValueError, match=sentence):
        HMDB51DataModule(str(tmp_path), allow_missing=True, **CLIP).setup()


@pytest.mark.parametrize("number", [1, 2])
def test_real_lists_have_the_official_counts(
    number: Literal[1, 2], test_data: Path, tmp_path: Path
) -> None:
    lists = str(test_data / "annotations" / "hmdb51" / "testTrainMulti_7030_splits")
    data = HMDB51DataModule(str(tmp_path), number, lists, allow_missing=True, **CLIP)
    data.setup()
    assert data.official_counts() == {"train": 3570, "test": 1530}
    assert len(data.train_set) + len(data.val_set) == 3570
    assert len(data.test_set) == 1530
    assert data.num_classes == 51
    assert data.class_names[5:7] == ["climb", "climb_stairs"]
    listed = [*data.train_set.labels, *data.val_set.labels]
    assert all(listed.count(label) == 70 for label in range(51))
    films = [
        {data.group_of(ListedVideo(name, name.split("/")[0], name)) for name in part.video_ids}
        for part in (data.train_set, data.val_set)
    ]
    assert not films[0] & films[1]
    known = [
        data.group_of(ListedVideo(name, name.split("/")[0], name))
        for name in data.test_set.video_ids
    ]
    assert list(data.test_set.groups) == known


def test_every_odd_name_is_found(test_data: Path, tmp_path: Path) -> None:
    lists = test_data / "annotations" / "hmdb51" / "testTrainMulti_7030_splits"
    odd = 0
    for path in lists.glob("*_test_split1.txt"):
        folder = tmp_path / path.name.removesuffix("_test_split1.txt")
        folder.mkdir()
        for line in path.read_text().splitlines():
            name = line.split()[0]
            odd += bool(re.search(r"[^A-Za-z0-9_.-]", name))
            (folder / name).touch()
    assert odd == 536
    data = HMDB51DataModule(str(tmp_path), 1, str(lists), **CLIP)
    data.setup()
    for part in (data.train_set, data.val_set, data.test_set):
        assert part.missing == []
        assert list(part.table.paths) == list(part.video_ids)
