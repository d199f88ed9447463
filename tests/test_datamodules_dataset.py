"""`VideoDataset`: segments by time, and videos that cannot be read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from video_files import cut, scene, write

from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.clips.input_spec import InputSpec
from datamodules.dataset import VideoDataset
from datamodules.samplers import SampleKey
from datamodules.video.errors import VideoError
from datamodules.video.quarantine import Quarantine
from datamodules.video.reader import VideoReader
from datamodules.video.segment import VideoSegment

NAN = float("nan")
SPEC = InputSpec(FrameSampler(8, 2), Crops(size=32, short_side=36))


def dataset(root: Path, paths: list[str], *, train: bool, **times: Any) -> VideoDataset:
    """A dataset of two classes; `starts` and `ends` in seconds."""
    table = VideoTable(
        PackedStrings(f"{number}:{path}" for number, path in enumerate(paths)),
        PackedStrings(paths),
        np.arange(len(paths)) % 2,
        np.arange(len(paths)),
        **{key: np.array(values, np.float32) for key, values in times.items()},
    )
    return VideoDataset(table, root, SPEC, train=train, num_clips=1 if train else 3)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the frames that are read from files."""
    seen: list[int] = []
    get_clips = VideoReader.get_clips

    def noted(reader: VideoReader, clips: Any, **options: Any) -> list[torch.Tensor]:
        seen.extend(int(number) for indices, _ in clips for number in indices)
        return get_clips(reader, clips, **options)

    monkeypatch.setattr(VideoReader, "get_clips", noted)
    return seen


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("start", "end"), [(2.0, 4.0), (NAN, 1.2), (3.6, NAN), (2.0, 2.2), (3.0, 1e6), (-5.0, 0.8)]
)
def test_frames_are_drawn_inside_the_segment(
    test_data: Path, asked: list[int], train: bool, start: float, end: float
) -> None:
    root = test_data / "ucf101_3class" / "videos" / "Punch"
    name = min(path.name for path in root.iterdir())
    with VideoReader(root / name) as reader:
        times = reader.timestamps
    assert times[-1] > 4
    videos = dataset(root, [name], train=train, starts=[start], ends=[end])
    for epoch in range(6 if train else 1):
        assert videos[SampleKey(epoch, 0)]["valid"]
    shown = times[asked]
    inside = times[~(times < start) & ~(times >= end)]
    assert set(shown) <= set(inside)
    assert np.ptp(shown) > 0.5 * min(np.ptp(inside), 14 / 25)


def test_segments_of_one_file_are_other_clips(test_data: Path) -> None:
    root = test_data / "ucf101_3class" / "videos" / "Punch"
    name = min(path.name for path in root.iterdir())
    videos = dataset(root, [name] * 2, train=False, starts=[0, 2], ends=[2, 4])
    first, second = (videos[SampleKey(0, index)] for index in range(2))
    assert not torch.equal(first["clips"], second["clips"])
    with VideoReader(root / name) as reader, VideoSegment(root / name, 2, 4) as segment:
        number = int(np.searchsorted(reader.timestamps, 2))
        assert segment.num_frames == 50
        assert torch.equal(segment.get_frames([0, 49]), reader.get_frames([number, number + 49]))
        with pytest.raises(IndexError, match="frames 0 to 49, got 50"):
            segment.get_frames([50])


@pytest.mark.parametrize(
    ("start", "end", "sentence"),
    [
        (
            50.0,
            60.0,
            r"no frame from 50\.000 to 60\.000 s, its frames are shown from 0\.000 to 0.9",
        ),
        (0.5, 0.5, r"no frame from 0\.500 to 0\.500 s"),
        (0.6, 0.2, r"no frame from 0\.600 to 0\.200 s"),
        (0.41, 0.43, r"no frame from 0\.410 to 0\.430 s"),
    ],
)
def test_empty_segment_is_named(tmp_path: Path, start: float, end: float, sentence: str) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(25))
    with pytest.raises(VideoError, match=sentence) as caught:
        VideoSegment(path, start, end)
    assert caught.value.reason == "empty segment"


def test_segment_of_a_frame_folder_is_refused(test_data: Path) -> None:
    folder = test_data / "weizmann_4" / "frames" / "bend_person0"
    assert VideoSegment(folder).num_frames > 50
    with pytest.raises(VideoError, match="do not tell what is at 1") as caught:
        VideoSegment(folder, 1, 2)
    assert caught.value.reason == "no times"


def broken_tree(root: Path) -> list[str]:
    """A good video, one that cannot be opened, one whose last images are smaller."""
    write(root / "good.mp4", "libx264", scene(60))
    cut(write(root / "cut.mp4", "libx264", scene(60)), 0.5)
    (root / "late").mkdir()
    for number, pixels in enumerate(scene(60)):
        shown = pixels if number < 40 else pixels[:32]
        Image.fromarray(shown).save(root / "late" / f"{number:05d}.jpg")
    return ["good.mp4", "cut.mp4", "late"]


def test_quarantine_changes_no_clip(tmp_path: Path, opened: list[str]) -> None:
    names, listed = broken_tree(tmp_path), tmp_path / "quarantine.jsonl"
    keys = [SampleKey(epoch, index) for epoch in range(6) for index in range(3)]
    fresh = [dataset(tmp_path, names, train=True)[key] for key in keys]
    tries = len(opened)
    assert opened.count("cut.mp4") >= 6
    del opened[:]
    kept = dataset(tmp_path, names, train=True)
    kept.quarantine = Quarantine(listed)
    resumed = dataset(tmp_path, names, train=True)
    resumed.quarantine = Quarantine(listed)
    for expected, key in zip(fresh, keys, strict=True):
        for item in (kept[key], resumed[key]):
            assert torch.equal(item["clips"], expected["clips"])
            for part in ("label", "video_id", "index", "broken"):
                assert item[part] == expected[part]  # type: ignore[literal-required]
    assert opened.count("cut.mp4") == 1
    assert len(opened) < 2 * tries - 8
    late = [item for item in fresh if item["video_id"] == "2:late"]
    assert late, "no clip before the damage was drawn"
    assert ("2:late", "changing size") in [pair for item in fresh for pair in item["broken"]]


def test_evaluation_tries_every_video_and_replaces_none(tmp_path: Path, opened: list[str]) -> None:
    videos = dataset(tmp_path, broken_tree(tmp_path), train=False)
    for _ in range(2):
        items = [videos[SampleKey(0, index)] for index in range(3)]
        assert [item["valid"] for item in items] == [True, False, False]
        assert [item["index"] for item in items] == [0, 1, 2]
        assert [item["label"] for item in items] == [0, 1, 0]
        assert not items[1]["clips"].any()
        assert items[1]["broken"] == [("1:cut.mp4", "truncated")]
        assert items[2]["broken"] == [("2:late", "changing size")]
    assert opened.count("cut.mp4") == 2
