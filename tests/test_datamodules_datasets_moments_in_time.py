"""Moments in Time in every layout, with its own order of the classes."""

from pathlib import Path
from typing import Literal

import pytest
from dataset_trees import CLIP, first_clip, labelled, located, place_videos, write

from datamodules import MomentsInTimeDataModule

CLASSES = ["praying", "adult+female+singing", "clapping"]
NAMES = {
    split: [f"{name}/{first}-{name}_{number}.mp4" for name in CLASSES for number in range(count)]
    for split, first, count in (("training", "yt", 3), ("validation", "vine", 1))
}


def write_lists(folder: Path) -> None:
    categories = "".join(f"{name},{label}\n" for label, name in enumerate(CLASSES))
    write(folder / "moments_categories.txt", categories)
    for split, names in NAMES.items():
        rows = "".join(f"{name},{name.split('/')[0]},3,1\n" for name in names)
        write(folder / f"{split}Set.csv", rows)


LAYOUTS = {
    "as downloaded": ("", "{split}/{class}/{stem}.mp4"),
    "folder of annotations": ("annotations", "videos/{split}/{class}/{stem}.mp4"),
    "blanks": ("", "{split}/{blanks}/{stem}.mp4"),
    "another suffix": ("", "{split}/{class}/{stem}.webm"),
    "both splits together": ("", "{class}/{stem}.mp4"),
    "frame folders": ("annotations", "rawframes/{split}/{class}/{stem}"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_read(layout: str, tmp_path: Path, motion_root: Path) -> None:
    lists, form = LAYOUTS[layout]
    write_lists(tmp_path / lists)
    expected = {}
    for split, names in NAMES.items():
        for name in names:
            folder, stem = name.removesuffix(".mp4").split("/")
            words = {"split": split, "class": folder, "stem": stem}
            expected[name] = form.format(**words, blanks=folder.replace("+", " "))
    place_videos(motion_root, tmp_path, expected.values())
    data = MomentsInTimeDataModule(str(tmp_path), **CLIP)
    data.setup()
    assert data.class_names == CLASSES
    assert data.test_split_name == "validation"
    for dataset, split in (
        (data.train_set, "training"),
        (data.val_set, "validation"),
        (data.test_set, "validation"),
    ):
        names = NAMES[split]
        assert labelled(dataset) == {name: CLASSES.index(name.split("/")[0]) for name in names}
        assert dataset.missing == []
        assert located(dataset) == {name: expected[name] for name in names}
    assert first_clip(data.train_set) == (1, 3, 4, 32, 32)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("trainingSet.csv", "praying/a.mp4\n", "but a line is <class>/<file>,<class>"),
        ("trainingSet.csv", "jumping/a.mp4,jumping,3,0\n", "not among the 3 classes"),
        ("trainingSet.csv", "../../a.mp4,praying,3,0\n", "leads out of"),
        ("moments_categories.txt", "a,0\nb,0\n", "each name and id once"),
    ],
)
def test_unusable_lists_are_refused(name: str, text: str, sentence: str, tmp_path: Path) -> None:
    write_lists(tmp_path)
    write(tmp_path / name, text)
    with pytest.raises(ValueError, match=sentence):
        MomentsInTimeDataModule(str(tmp_path), allow_missing=True, **CLIP).setup()


@pytest.mark.parametrize(
    ("version", "count", "first"),
    [("v1", 339, ["clapping", "praying"]), ("v2", 305, ["clapping", "dropping"])],
)
def test_real_class_files_give_count_and_order(
    version: Literal["v1", "v2"], count: int, first: list[str], test_data: Path
) -> None:
    lists = str(test_data / "annotations" / "moments_in_time")
    data = MomentsInTimeDataModule(lists, version, **CLIP)
    assert data.num_classes == count
    assert data.class_names[:2] == first
    assert len(data.class_index()) == count
