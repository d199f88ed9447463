"""The quarantine: what it keeps from being tried and what not, many writers, broken lists."""

import json
import multiprocessing
import os
from contextlib import suppress
from pathlib import Path

import pytest

from datamodules.video.errors import Reason, VideoError
from datamodules.video.quarantine import Quarantine


def attempt(
    quarantine: Quarantine, place: Path, reason: Reason | None, *, is_open: bool = False
) -> bool:
    """Whether a video is tried that fails for a reason, at opening or within."""
    tried = False
    with suppress(VideoError), quarantine.watch(place.name, place) as opened:
        tried = True
        opened.is_open = is_open
        if reason is not None:
            raise VideoError(place, reason, f"attempt at {place}")
    return tried


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a [1].mp4"
    path.write_bytes(b"no video")
    return path


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return tmp_path / "quarantine.jsonl"


def test_video_that_cannot_be_opened_is_not_tried_again(video: Path, listed: Path) -> None:
    assert attempt(Quarantine(listed), video, "truncated")
    later = Quarantine(listed)  # another process, or the resumed run
    with (
        pytest.raises(VideoError, match="truncated: attempt at") as caught,
        later.watch(video.name, video),
    ):
        pytest.fail("it was tried")
    assert (caught.value.reason, caught.value.path) == ("truncated", str(video))
    (record,) = lines(listed)
    state = video.stat()
    assert record["path"] == str(video)
    assert (record["size"], record["mtime_ns"]) == (state.st_size, state.st_mtime_ns)
    assert record["reason"] == "truncated"
    assert record["final"] is True


@pytest.mark.parametrize("change", ["size", "time"])
def test_changed_file_is_tried_again(video: Path, listed: Path, change: str) -> None:
    before = video.stat()
    assert attempt(Quarantine(listed), video, "truncated")
    if change == "size":
        video.write_bytes(b"longer than before")
        os.utime(video, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        os.utime(video, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    later = Quarantine(listed)
    assert attempt(later, video, None)
    assert attempt(later, video, "truncated")
    assert not attempt(Quarantine(listed), video, None)


def test_video_damaged_within_is_listed_once_and_tried_again(video: Path, listed: Path) -> None:
    for _ in range(3):
        assert attempt(Quarantine(listed), video, "damaged", is_open=True)
    assert [(record["reason"], record["final"]) for record in lines(listed)] == [("damaged", False)]


def test_fault_of_the_disk_is_not_final(video: Path, listed: Path) -> None:
    quarantine = Quarantine(listed)
    assert attempt(quarantine, video, "unreadable")
    assert attempt(quarantine, video, "missing")
    with pytest.raises(VideoError), quarantine.watch(video.name, video):
        raise VideoError(video, "damaged", "broken off") from OSError(5, "Input/output error")
    assert attempt(quarantine, video, None)
    video.unlink()
    assert attempt(quarantine, video, "missing")
    assert not any(record["final"] for record in lines(listed))


def test_verdict_of_another_decoder_does_not_count(video: Path, listed: Path) -> None:
    assert attempt(Quarantine(listed), video, "no decoder")
    listed.write_text(listed.read_text().replace('"decoder": "', '"decoder": "other '))
    assert attempt(Quarantine(listed), video, None)


def test_without_a_list_the_process_remembers(video: Path) -> None:
    quarantine = Quarantine()
    assert attempt(quarantine, video, "truncated")
    assert not attempt(quarantine, video, None)


def test_half_written_list_costs_the_last_line_only(tmp_path: Path, listed: Path) -> None:
    places = [tmp_path / f"{name}.mp4" for name in "abc"]
    for place in places:
        place.write_bytes(b"no video")
        assert attempt(Quarantine(listed), place, "truncated")
    whole = listed.read_bytes()
    starts = [0] + [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for end in sorted({*range(0, len(whole), 7), *(start - 1 for start in starts[1:])}):
        listed.write_bytes(whole[:end])
        tried = [attempt(Quarantine(listed), place, None) for place in places]
        assert tried == [end < start for start in starts[1:]], end
        assert attempt(Quarantine(listed), places[2], "truncated") == tried[2]
        later = Quarantine(listed)  # where only the line's end was missing, the next line gave it
        known = [*(end < start - 1 for start in starts[1:3]), False]
        assert [attempt(later, place, None) for place in places] == known


@pytest.mark.parametrize(
    "text", ["[]", "17", "null", '{"video_id": "a"}', "\0\0\0\0", "\udcff", '{"reason": ["x"]}']
)
def test_foreign_lines_are_passed_over(video: Path, listed: Path, text: str) -> None:
    listed.write_bytes(text.encode("utf-8", "surrogateescape") + b"\n")
    assert attempt(Quarantine(listed), video, "truncated")
    assert not attempt(Quarantine(listed), video, None)


def test_list_that_was_deleted_is_begun_anew(video: Path, listed: Path) -> None:
    reader = Quarantine(listed)
    for name in ("x" * 40, "b"):
        other = video.with_name(name)
        other.write_bytes(b"no video")
        assert attempt(Quarantine(listed), other, "truncated")
        assert not attempt(reader, other, None)
        listed.unlink()
    assert not attempt(reader, video.with_name("b"), None)


def test_list_that_cannot_be_written_is_said(video: Path, tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "nowhere" / "list")
    with pytest.warns(UserWarning, match=r"nowhere/list cannot be written \(No such file"):
        assert attempt(quarantine, video, "truncated")
    assert not attempt(quarantine, video, None)


def _add_many(listed: Path, folder: Path, first: int) -> None:
    quarantine = Quarantine(listed)
    for number in range(first, first + 50):
        place = folder / f"{number}.mp4"
        place.write_bytes(b"x")
        attempt(quarantine, place, "not a video")


def test_many_processes_append_whole_lines(tmp_path: Path, listed: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_add_many, args=(listed, tmp_path, 50 * i)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert sorted(str(record["video_id"]) for record in lines(listed)) == sorted(
        f"{i}.mp4" for i in range(200)
    )
