"""UCF101 in every layout and naming that people have."""

from pathlib import Path

import pytest
from dataset_trees import CLIP, first_clip, labelled, located, place_videos, write

from datamodules import UCF101DataModule

CLASSES = ["HandstandPushups", "HandstandWalking", "BabyCrawling"]
NAMES = [
    f"{name}/v_{name}_g{group:02d}_c{clip:02d}.avi"
    for name in CLASSES
    for group in (1, 8, 9, 10)
    for clip in (1, 2)
]
TEST = [name for name in NAMES if "_g01_" in name]
TRAIN = [name for name in NAMES if "_g01_" not in name]


def write_lists(folder: Path, number: int = 1) -> None:
    ids = "".join(f"{number} {name}\n" for number, name in enumerate(CLASSES, 1))
    write(folder / "classInd.txt", ids)
    train = "".join(f"{name} {CLASSES.index(name.split('/')[0]) + 1}\n" for name in TRAIN)
    write(folder / f"trainlist{number:02d}.txt", train)
    write(folder / f"testlist{number:02d}.txt", "".join(f"{name}\n" for name in TEST))


LAYOUTS = {
    "as downloaded": ("ucfTrainTestlist", "UCF-101/{class}/{stem}.avi"),
    "lists among the class folders": ("", "{class}/{stem}.avi"),
    "folder of annotations": ("annotations", "videos/{class}/{stem}.mp4"),
    "lists in the folder of annotations": ("annotations/ucfTrainTestlist", "UCF101/{stem}.avi"),
    "flat": ("lists", "{stem}.webm"),
    "frame folders": ("annotations", "rawframes/{class}/{stem}"),
    "other spelling": ("", "UCF-101/{spelled class}/{spelled stem}.avi"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_read(layout: str, tmp_path: Path, motion_root: Path) -> None:
    lists, form = LAYOUTS[layout]
    write_lists(tmp_path / lists, number=2)
    expected = {}
    for name in NAMES:
        folder, stem = name.removesuffix(".avi").split("/")
        words = {"class": folder, "stem": stem}
        words |= {f"spelled {key}": word.replace("dst", "dSt") for key, word in words.items()}
        expected[name] = form.format(**words)
    place_videos(motion_root, tmp_path, expected.values())
    data = UCF101DataModule(str(tmp_path), split=2, val_fraction=0.3, **CLIP)
    data.setup()
    assert data.class_names == CLASSES
    labels = {name: CLASSES.index(name.split("/")[0]) for name in NAMES}
    parts = [labelled(part) for part in (data.train_set, data.val_set, data.test_set)]
    assert parts[2] == {name: labels[name] for name in TEST}
    assert parts[0] | parts[1] == {name: labels[name] for name in TRAIN}
    for part in (data.train_set, data.val_set, data.test_set):
        assert part.missing == []
        assert located(part) == {name: expected[name] for name in part.video_ids}
    assert first_clip(data.train_set) == (1, 3, 4, 32, 32)


def test_validation_takes_whole_scenes_of_all_classes(tmp_path: Path) -> None:
    write_lists(tmp_path)
    data = UCF101DataModule(str(tmp_path), val_fraction=0.3, allow_missing=True, **CLIP)
    data.setup()
    groups = [
        {name.split("_")[2] for name in part.video_ids} for part in (data.train_set, data.val_set)
    ]
    assert [len(group) for group in groups] == [2, 1]
    assert not groups[0] & groups[1]
    assert {name.split("/")[0] for name in data.val_set.video_ids} == set(CLASSES)


def test_missing_videos_are_named_and_written(tmp_path: Path, motion_root: Path) -> None:
    write_lists(tmp_path)
    place_videos(motion_root, tmp_path, [f"UCF-101/{name}" for name in NAMES if name != TEST[3]])
    data = UCF101DataModule(str(tmp_path), val_fraction=0, **CLIP)
    data.setup()
    assert data.test_set.missing == [TEST[3]]
    (target,) = data.write_missing(tmp_path)
    assert target.name == "missing_test.csv"
    row = f"{TEST[3]},HandstandWalking,UCF-101/{TEST[3]}"
    assert target.read_text().split() == ["video_id,class,path", row]


def test_other_capitals_and_other_counts_are_said_once(
    tmp_path: Path, motion_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("datamodules.annotations.remarks.rank_zero_info", said.append)
    write_lists(tmp_path)
    place_videos(motion_root, tmp_path, [name.replace("v_Handst", "v_HandSt") for name in NAMES])
    UCF101DataModule(str(tmp_path), val_fraction=0, **CLIP).setup()
    assert sum("other capitals" in line for line in said) == 2
    assert "12 listed videos have other capitals" in said[0]
    assert "train: the list names 18 videos, the official one 9537" in said
    assert "test: the list names 6 videos, the official one 3783" in said


def test_lists_may_lie_anywhere(tmp_path: Path, motion_root: Path) -> None:
    write_lists(tmp_path / "elsewhere")
    place_videos(motion_root, tmp_path / "videos", NAMES)
    for annotations in ("../elsewhere", str(tmp_path / "elsewhere")):
        data = UCF101DataModule(str(tmp_path / "videos"), annotations=annotations, **CLIP)
        data.setup()
        assert data.test_set.missing == data.train_set.missing == []


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, r"no trainlist01\.txt in .*; set data\.root .*data\.annotations"),
        ({"trainlist01.txt": "A/../../../x.avi 1\n"}, "leads out of"),
        ({"trainlist01.txt": "/etc/x.avi 1\n"}, "leads out of"),
        ({"trainlist01.txt": "A/v_A_c01.avi 1\n"}, "has no group gNN"),
        ({"trainlist01.txt": "A/v_A_g01_c01.avi 7\n"}, "class '7' .* not among the 2 classes"),
    ],
)
def test_unusable_datasets_are_refused(
    files: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    lists = {"classInd.txt": "1 A\n2 B\n", "testlist01.txt": "A/v_A_g02_c01.avi\n"}
    for name, text in (lists | files).items():
        write(tmp_path / name, text)
    data = UCF101DataModule(str(tmp_path), allow_missing=True, **CLIP)
    with pytest.raises(ValueError, match=sentence):
        data.setup()


@pytest.mark.parametrize(("number", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734)])
def test_real_lists_have_the_official_counts(
    number: int, train: int, test: int, test_data: Path
) -> None:
    root = test_data / "ucf101_3class"
    lists = str(test_data / "annotations" / "ucf101")
    data = UCF101DataModule(str(root), number, lists, allow_missing=True, **CLIP)  # type: ignore[arg-type]
    data.setup()
    assert data.official_counts() == {"train": train, "test": test}
    assert len(data.train_set) + len(data.val_set) == train
    assert len(data.test_set) == test
    assert data.num_classes == 101
    scenes = set(data.test_set.groups)
    # seven groups gNN of each class
    assert scenes == {name.rpartition("/")[2].split("_c")[0] for name in data.test_set.video_ids}
    assert len(scenes) == 707
    assert data.class_names[:4] == ["ApplyEyeMakeup", "ApplyLipstick", "Archery", "BabyCrawling"]
    found = {
        path.split("/")[1]
        for part in (data.train_set, data.test_set)
        for path in located(part).values()
    }
    assert found == {"BabyCrawling", "Punch", "PushUps"}


def test_real_videos_are_found_and_read(test_data: Path) -> None:
    data = UCF101DataModule(str(test_data / "ucf101_3class"), **CLIP)
    data.setup()
    assert data.class_names == ["BabyCrawling", "Punch", "PushUps"]
    assert [len(data.train_set) + len(data.val_set), len(data.test_set)] == [117, 45]
    assert data.train_set.missing == data.val_set.missing == data.test_set.missing == []
    assert first_clip(data.test_set) == (1, 3, 4, 32, 32)
