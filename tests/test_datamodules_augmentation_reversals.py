"""Reversals: each clip beside itself played backwards, under the name of what it then shows."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from grouped import augmented, data_settings

from datamodules import (
    FlowInput,
    MotionShapesDataModule,
    StandardAugmentation,
    UserError,
    VideoBatch,
    VideoFolderDataModule,
)
from datamodules.augmentation.mirrors import ClassInfo
from datamodules.augmentation.reversals import with_reversals
from datamodules.randomness import BatchDraws

NAMES = ["open", "wave", "close", "fall"]
PAIRS = (("open", "close"), ("wave", "wave"))
LABELS = [3, 0, 1, 2, 0]
TURNED = {0: 2, 2: 0, 1: 1}


def batch() -> VideoBatch:
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (5, 1, 3, 4, 2, 6), generator=generator, dtype=torch.uint8)
    return {
        "clips": clips,
        "label": torch.tensor(LABELS),
        "index": torch.arange(10, 15),
        "repeat": torch.zeros(5, dtype=torch.int64),
        "epoch": 0,
        "video_id": list("abcde"),
        "valid": torch.ones(5, dtype=torch.bool),
    }


def test_each_clip_of_a_pair_stands_beside_its_reversal() -> None:
    before = batch()
    after = with_reversals(batch(), ClassInfo(NAMES, reverse_pairs=PAIRS))

    assert torch.equal(after["clips"][:5], before["clips"])
    rows = [row for row, label in enumerate(LABELS) if label in TURNED]
    assert after["label"].tolist() == [*LABELS, *(TURNED[LABELS[row]] for row in rows)]
    assert after["index"].tolist() == [10, 11, 12, 13, 14, *(10 + row for row in rows)]
    assert after["video_id"] == [*"abcde", *("abcde"[row] for row in rows)]
    assert after["valid"].tolist() == [True] * 9
    for place, row in enumerate(rows, 5):
        for frame in range(4):
            whole = before["clips"][row, :, :, 3 - frame]
            assert torch.equal(after["clips"][place, :, :, frame], whole)


def test_reversal_has_the_colours_and_the_mirror_of_its_clip() -> None:
    changes = StandardAugmentation(0.5, color=0.4, reversals=True)
    classes = ClassInfo(NAMES, reverse_pairs=(("open", "close"), ("wave", "fall")))
    after = changes.augment(batch(), BatchDraws.of(0, batch()), classes)

    clips = after["clips"]
    assert not torch.equal(clips[:5], batch()["clips"] / 255)
    assert torch.equal(clips[5:], clips[:5].flip(3))


def test_clips_of_one_pair_are_as_many_as_those_of_the_other(motion_root: Path) -> None:
    """MotionShapes knows its own pairs; a network blind to order sees each clip under both."""
    data = MotionShapesDataModule(
        root=str(motion_root), augmentation=StandardAugmentation(0.0, reversals=True)
    )
    data.setup()
    first = data.class_info.reverse_pairs[0]
    assert first == ("move_left", "move_right")
    single = batch() | {"label": torch.tensor([0, 1, 1, 6, 4])}
    assert augmented(data, single)["label"].tolist() == [0, 1, 1, 6, 4, 1, 0, 0, 7, 5]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"reversals": True, "mixup_alpha": 0.2}, "do not go together, as a mixed clip is no"),
        ({"reverse_pairs": [("a", "b")]}, r"no effect without data\.augmentation\.reversals=true"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        StandardAugmentation(**given)


def test_pairs_that_nobody_knows_are_refused_at_setup(motion_root: Path, tmp_path: Path) -> None:
    shutil.copytree(motion_root / "train", tmp_path / "train")
    asked: list[tuple[dict[str, Any], str]] = [
        ({}, r"needs the classes that are each other's reversal; name them"),
        ({"reverse_pairs": [("grow", "glow")]}, "names 'glow', which is not a class"),
    ]
    for given, sentence in asked:
        own = data_settings(reversals=True, num_frames=4, frame_stride=1, **given)
        with pytest.raises(UserError, match=sentence):
            VideoFolderDataModule(str(tmp_path), **own).setup()


@pytest.mark.parametrize("changes", [{"reversals": True}, {"rand_augment": 2}])
def test_what_flow_cannot_follow_is_refused(motion_root: Path, changes: dict[str, Any]) -> None:
    own = data_settings(**changes, num_frames=1, frame_stride=1)
    data = MotionShapesDataModule(root=str(motion_root), flow=FlowInput(length=4), **own)
    with pytest.raises(
        UserError, match=r"cannot follow \(reversals, rand_augment\), and data.flow"
    ):
        data.setup()
