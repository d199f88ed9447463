"""Remarks on a dataset are said by a fit and become findings of an examination."""

from pathlib import Path

import pytest
from grouped import data_settings

from datamodules import VideoFolderDataModule
from datamodules.annotations.remarks import Remark, Remarks
from datamodules.health.division import division_of_fit
from datamodules.health.examination import Examination, ExaminationSettings, examine
from datamodules.health.findings import ListedSplit

pytestmark = pytest.mark.usefixtures("fork_server")

NO_VAL = "no validation split: nothing is validated, no best checkpoint is kept"
NO_TEST = "no test split: the validation videos are the test set"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the first rank prints."""
    lines: list[str] = []
    monkeypatch.setattr("datamodules.annotations.remarks.rank_zero_info", lines.append)
    return lines


def dataset(root: Path) -> VideoFolderDataModule:
    return VideoFolderDataModule(
        str(root),
        **data_settings(num_frames=4, frame_stride=2, batch_size=2, val_fraction=0, num_workers=0),
    )


def examined(root: Path, out: Path) -> Examination:
    out.mkdir()
    settings = ExaminationSettings(out, sample=1, measure=0)
    return examine(dataset(root), settings, allow_missing=False)


def test_remarks_are_said_unless_they_are_collected(said: list[str]) -> None:
    remarks = Remarks()
    remarks.add("splits", "first")
    with remarks.collected() as outer:
        remarks.add("counts", "second")
        with remarks.collected() as inner:
            remarks.add("names", "third")
        remarks.add("times", "fourth")
    remarks.add("views", "fifth")
    assert said == ["first", "fifth"]
    assert outer == [Remark("counts", "second"), Remark("times", "fourth")]
    assert inner == [Remark("names", "third")]


def test_collecting_ends_with_an_error(said: list[str]) -> None:
    remarks = Remarks()
    with pytest.raises(OSError, match="a disk"), remarks.collected():
        raise OSError("a disk")
    remarks.add("splits", "afterwards")
    assert said == ["afterwards"]


def test_a_fit_says_what_the_dataset_has_not(class_folders: Path, said: list[str]) -> None:
    dataset(class_folders).setup("fit")
    assert said == [NO_VAL, NO_TEST]


def test_why_nothing_is_held_out_is_said(class_folders: Path, said: list[str]) -> None:
    settings = data_settings(num_frames=4, frame_stride=2, batch_size=2, num_workers=0)
    data = VideoFolderDataModule(
        str(class_folders), **{**settings, "val_fraction": 0.1}, group_pattern=r"(\.mp4)$"
    )
    data.setup("fit")
    assert "no validation split, as the training videos of each class are one group" in said[0]
    own = ListedSplit("train", data.root, data.train_set.table, [".mp4"] * len(data.train_set))
    val = division_of_fit(data, [own])[1]
    assert val.origin.endswith("are one group, or one video, which stays whole)")


def test_an_examination_notes_it_and_prints_nothing(
    class_folders: Path, tmp_path: Path, said: list[str]
) -> None:
    found = examined(class_folders, tmp_path / "out")
    notes = [finding for finding in found.findings if finding.check == "dataset"]
    assert [(note.level, note.sentence) for note in notes] == [
        ("note", f"{NO_VAL}."),
        ("note", f"{NO_TEST}."),
    ]
    assert said == []
    found.data.remarks.add("views", "said again afterwards")
    assert said == ["said again afterwards"]


def test_an_examination_says_counts_and_missing_videos_once(
    class_folders: Path,
    tmp_path: Path,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = {"train": 20, "test": 1}
    monkeypatch.setattr(VideoFolderDataModule, "official_counts", lambda self: counts)
    found = examined(class_folders, tmp_path / "out")
    assert [finding.check for finding in found.findings].count("counts") == 2
    sentences = [finding.sentence for finding in found.findings if finding.check == "dataset"]
    assert sentences == [f"{NO_VAL}.", f"{NO_TEST}."]
    assert said == []
