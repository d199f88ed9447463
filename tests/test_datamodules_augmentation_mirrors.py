"""Classes that differ in a mirror: found by name, said, never shown under the wrong label."""

from pathlib import Path
from typing import Any

import pytest
from dataset_trees import CLIP
from grouped import data_settings

from datamodules import StandardAugmentation, UserError, VideoFolderDataModule
from datamodules.annotations.class_files import read_class_list
from datamodules.augmentation.mirrors import mirror_pairs_in, mirror_sentences, told_by_names

NAMES = ["wave", "turn_left", "turn_right", "bright_light"]


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["Swiping Left", "Swiping Right", "Stop Sign"], [("Swiping Left", "Swiping Right")]),
        (["turnRight", "TurnLeft"], [("turnRight", "TurnLeft")]),
        (["right_to_left", "left_to_right"], [("right_to_left", "left_to_right")]),
        (["spin cw", "spin CCW"], [("spin cw", "spin CCW")]),
        (["turn_clockwise", "turn_anticlockwise"], [("turn_clockwise", "turn_anticlockwise")]),
        (["clockwise", "counter-clockwise"], [("clockwise", "counter-clockwise")]),
        (["Left-hand up", "right hand up"], [("Left-hand up", "right hand up")]),
        (["lefthand_up", "righthand_up"], [("lefthand_up", "righthand_up")]),
        (["move leftwards", "move rightwards"], [("move leftwards", "move rightwards")]),
        (["pulling it right out", "upright", "brightleft", "turn_left"], []),
    ],
)
def test_pairs_are_found_in_names(names: list[str], pairs: list[tuple[str, str]]) -> None:
    assert mirror_pairs_in(names) == pairs


def test_jesters_six_are_found(test_data: Path) -> None:
    path = test_data / "annotations" / "jester" / "jester-v1-labels.csv"
    assert mirror_pairs_in(list(read_class_list(path).values())) == [
        ("Swiping Left", "Swiping Right"),
        ("Sliding Two Fingers Left", "Sliding Two Fingers Right"),
        ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
    ]


@pytest.mark.parametrize(
    ("given", "starts"),
    [
        ({}, ["never mirrored, as they differ in a mirror: turn_left, turn_right ("]),
        ({"flip_pairs": [("turn_left", "turn_right")]}, ["mirrored with the label of the other"]),
        ({"flip_exempt": ["wave"]}, ["never mirrored", "mirrored, though their names differ"]),
        ({"flip_exempt": []}, ["mirrored, though their names differ in a direction: turn_left /"]),
    ],
)
def test_what_becomes_of_them_is_said(given: dict[str, Any], starts: list[str]) -> None:
    classes = StandardAugmentation(**given).mirrored(told_by_names(NAMES))
    sentences = mirror_sentences(classes)
    assert len(sentences) == len(starts)
    assert all(s.startswith(start) for s, start in zip(sentences, starts, strict=True))


@pytest.fixture
def turns(class_folders: Path) -> Path:
    """Class folders of which two differ in a direction."""
    (class_folders / "grow").rename(class_folders / "turn_left")
    (class_folders / "move_up").rename(class_folders / "turn_right")
    return class_folders


def data_of(root: Path, **settings: Any) -> VideoFolderDataModule:
    return VideoFolderDataModule(str(root), **{**CLIP, **data_settings(**settings)})


@pytest.mark.parametrize("num_crops", [2, 10, "full_flip"])
def test_views_in_a_mirror_are_refused_for_them(num_crops: Any, turns: Path) -> None:
    for more in ({}, {"flip_pairs": [("turn_left", "turn_right")]}):
        data = data_of(turns, num_crops=num_crops, size=32, short_side=40, **more)
        with pytest.raises(UserError, match=rf"num_crops={num_crops} .* turn_left, turn_right are"):
            data.setup()
    said_no = data_of(turns, num_crops=num_crops, size=32, short_side=40, flip_exempt=[])
    said_no.setup()


def test_they_are_said_at_setup_and_their_clips_stay(turns: Path) -> None:
    data = data_of(turns, flip_probability=1.0, batch_size=12)
    with data.remarks.collected() as said:
        data.setup()
    assert any("never mirrored" in remark.sentence for remark in said)
    batch = next(iter(data.train_dataloader()))
    before, labels = batch["clips"].clone().float() / 255, batch["label"].clone()
    changed = data.on_after_batch_transfer(batch, 0)
    scale = data.spec.normalization
    for clip, plain, label in zip(changed["clips"], before, labels.tolist(), strict=True):
        back = (clip[0, 0] * scale.std[0] + scale.mean[0]).round(decimals=4)
        same = bool((back - plain[0, 0]).abs().max() < 0.001)
        assert same == (data.class_names[label] != "turn_clockwise")
    assert changed["label"].tolist() == labels.tolist()
