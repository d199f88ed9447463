"""One pass over a dataset: shared, resumed, told, and stopped without loss."""

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from datamodules.atomic import write_atomically
from datamodules.errors import StorageError, UserError
from datamodules.jobs import dataset_jobs
from datamodules.jobs.dataset_jobs import (
    Event,
    Report,
    Step,
    follow_pass,
    process_videos,
    read_shard,
    take_shard,
)
from datamodules.video.errors import VideoError

VIDEOS = [f"class/v{number}.mp4" for number in range(12)]


@dataclass(frozen=True)
class Copy:
    """Makes a file for each video, but not of one that is broken."""

    folder: Path
    stops_at: str = ""

    def __call__(self, video: str) -> Generator[Step, None, None]:
        yield Step(5, 0.5)
        if video == self.stops_at:
            raise KeyboardInterrupt
        if video == VIDEOS[3]:
            raise VideoError(video, "damaged", "so it is")
        yield Step(5, 0.5)
        write_atomically(self.folder / Path(video).name, video)

    def is_done(self, video: str) -> bool:
        return (self.folder / Path(video).name).exists()


def run_pass(work: Copy, shard: str, num_workers: int = 0) -> Report[str]:
    """As the module's own text shows it."""
    shared = take_shard(VIDEOS, *read_shard(shard))
    todo = [video for video in shared if not work.is_done(video)]
    events = process_videos(work, todo, num_workers)
    return follow_pass("copying", events, len(todo), shown=False)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shards_together_do_all_once(tmp_path: Path, num_workers: int) -> None:
    reports = [run_pass(Copy(tmp_path), f"{index}/3", num_workers) for index in range(3)]

    assert sum(report.done for report in reports) == 11
    failed = [one for report in reports for one in report.failed]
    assert failed == [(VIDEOS[3], "damaged: so it is")]
    assert len(list(tmp_path.iterdir())) == 11
    assert run_pass(Copy(tmp_path), "0/1").total == 1  # the broken one is tried again


def test_stopped_pass_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_pass(Copy(tmp_path, stops_at=VIDEOS[7]), "0/1")
    said = capsys.readouterr().err
    assert said.startswith("6 of 12 videos done, ")
    assert said.endswith(" frames/s; the same command again goes on with the rest\n")
    assert len(list(tmp_path.iterdir())) == 6

    report = run_pass(Copy(tmp_path), "0/1")

    assert (report.done, report.total, len(report.failed)) == (5, 6, 1)
    assert len(list(tmp_path.iterdir())) == 11


@pytest.mark.parametrize("num_workers", [0, 1])
def test_disk_that_fails_is_told_with_what_was_done(tmp_path: Path, num_workers: int) -> None:
    (tmp_path / "v2.mp4" / "in the way").mkdir(parents=True)
    videos = VIDEOS[:4]
    events = process_videos(Copy(tmp_path), videos, num_workers)
    sentence = r"2 of 4 videos done, .*then .*directory.*; correct that, and give the same command"
    with pytest.raises(StorageError, match=sentence):
        follow_pass("copying", events, len(videos), shown=False)


@pytest.mark.parametrize("shard", ["4/4", "5/4", "one", "-1/4", "1", "0/0", "1/2/3"])
def test_impossible_shard_is_refused(shard: str) -> None:
    with pytest.raises(UserError, match=rf"--shard {shard} is not possible; give I/N with I from"):
        read_shard(shard)


def test_shard_of_an_item_follows_from_its_name() -> None:
    assert read_shard("3/16") == (3, 16)
    shards = [take_shard(VIDEOS, index, 4) for index in range(4)]
    assert sorted(video for shard in shards for video in shard) == sorted(VIDEOS)
    assert take_shard(VIDEOS[5:], 1, 4) == [v for v in shards[1] if v in VIDEOS[5:]]
    assert take_shard(["caf\udce9.mp4"], 0, 1) == ["caf\udce9.mp4"]


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("name", ["{:05}.mp4", "clip [grow_{:05}].mp4, start=None", "{:05}/a_b_c"])
def test_shards_of_numbered_names_are_of_one_size(name: str, count: int) -> None:
    """A remainder of their CRC-32 puts the first hundred into one shard, or none into some."""
    for numbers in (range(100), range(4000)):
        sizes = [len(take_shard([name.format(n) for n in numbers], i, count)) for i in range(count)]
        assert min(sizes) > 0.4 * len(numbers) / count
        assert max(sizes) < 1.9 * len(numbers) / count


def slow_events() -> Generator[Event[str], None, None]:
    """Two videos, each in two steps."""
    for video in ("a", "b"):
        for _ in range(2):
            yield Event(video, Step(10, 0.5))
        yield Event(video, None)


def test_lines_tell_the_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def a_second_each() -> Generator[Event[str], None, None]:
        nonlocal now
        for event in slow_events():
            now += 1
            yield event

    monkeypatch.setattr(dataset_jobs, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(dataset_jobs, "LINE_SECONDS", 2)
    lines: list[str] = []

    report = follow_pass("watching", a_second_each(), 6, known=2, shown=False, say=lines.append)

    assert (report.done, report.known, report.frames) == (4, 2, 40)
    assert lines == [
        "2 of 6 videos done, 10.0 frames/s, 0:00:06 left",
        "3 of 6 videos done, 7.5 frames/s, 0:00:07 left",
        "4 of 6 videos done, 6.7 frames/s, 0:00:06 left",
    ]


def test_rate_without_steps_is_of_videos() -> None:
    report = Report[str](10, known=4)
    time.sleep(0.01)
    assert report.time_left is None
    for video in "abc":
        assert report.count(Event(video, None)) == 1
    assert str(report).startswith("7 of 10 videos done, ")
    assert str(report).endswith(" videos/s")
    assert not str(report).endswith(" 0.0 videos/s")
    assert report.time_left is not None


def test_bar_is_drawn_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    follow_pass("watching", slow_events(), 2, shown=True)
    assert "watching" in capsys.readouterr().err
    follow_pass("watching", slow_events(), 2)  # standard error is no terminal here
    assert capsys.readouterr().err == ""
