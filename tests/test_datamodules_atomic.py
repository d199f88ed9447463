"""Files whole or not at all, and appended lines, also where the file system knows no locks."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datamodules.atomic import (
    append_line,
    locked,
    path_beside,
    write_atomically,
    writing_binary,
    writing_text,
)
from datamodules.health.decode_check import DecodeResult, Part
from datamodules.health.decode_log import DecodeLog
from datamodules.jobs.target_folder import partial_folder
from datamodules.video.errors import VideoError
from datamodules.video.quarantine import Quarantine

FORK = multiprocessing.get_context("fork")
WRITERS, LINES = 4, 50


@pytest.fixture(params=[None, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS])
def _file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with locks, then those that refuse them in each of their ways."""

    def refuse(*_: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    if request.param is not None:
        monkeypatch.setattr(fcntl, "flock", refuse)
        monkeypatch.setattr(fcntl, "lockf", refuse)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_atomically(target, "first\n")
    with writing_text(target, newline="") as file:
        file.write("second ü\r\n")
        file.flush()
        assert target.read_text() == "first\n"
    assert target.read_bytes() == "second ü\r\n".encode()
    write_atomically(target, b"\xff")
    assert target.read_bytes() == b"\xff"
    with path_beside(target) as part:
        assert part.name.startswith(".")
        part.write_bytes(b"filled")
    assert target.read_bytes() == b"filled"
    assert names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("lone", [False, True])
@pytest.mark.parametrize("call", [None, "fsync", "replace"])
def test_what_was_there_survives_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str | None, lone: bool
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill() -> None:
        with writing_binary(target, lone=lone, keep=tmp_path / "kept") as file:
            file.write(b"after")
            if call is None:
                full()

    if call is not None:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        fill()
    assert target.read_text() == "before"
    assert names(tmp_path) == {"a.txt"}


def test_former_content_is_kept_where_asked(tmp_path: Path) -> None:
    for number in range(3):
        with writing_binary(tmp_path / "new", keep=tmp_path / "old", flush_folder=True) as file:
            file.write(b"%d" % number)
    assert ((tmp_path / "new").read_bytes(), (tmp_path / "old").read_bytes()) == (b"2", b"1")
    assert names(tmp_path) == {"new", "old"}


@pytest.mark.parametrize("errors", ["surrogateescape", "backslashreplace"])
def test_text_of_any_file_name_is_written(tmp_path: Path, errors: str) -> None:
    with writing_text(tmp_path / "list", errors=errors) as file:
        file.write("caf\udce9")
    expected = {"surrogateescape": b"caf\xe9", "backslashreplace": b"caf\\udce9"}
    assert (tmp_path / "list").read_bytes() == expected[errors]


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "a", "")
    with pytest.raises(NotADirectoryError):
        write_atomically(Path("/dev/null/a"), "")


def _write_for_ever(target: Path) -> None:
    while True:
        with writing_binary(target, lone=True) as file:
            file.write(b"whole" * 200_000)


def test_killed_writers_leave_whole_files_and_one_beside(tmp_path: Path) -> None:
    target = tmp_path / "a"
    for _ in range(3):
        writer = FORK.Process(target=_write_for_ever, args=(target,))
        writer.start()
        deadline = time.monotonic() + 30
        while not target.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert target.read_bytes() == b"whole" * 200_000
        assert names(tmp_path) <= {"a", ".a.tmp"}


def _append_lines(path: Path, first: int) -> None:
    for number in range(first, first + LINES):
        append_line(path, b"line %d " % number + b"x" * 3000)


def _log_results(path: Path, first: int) -> None:
    for number in range(first, first + LINES):
        DecodeLog(path).add(
            DecodeResult(f"/videos/{number}.mp4", None, None, 1, 1, "damaged", "x" * 3000)
        )


def _quarantine(path: Path, first: int) -> None:
    quarantine = Quarantine(path)
    for number in range(first, first + LINES):
        place = path.with_name(f"{number}.mp4")
        place.write_bytes(b"x")
        with pytest.raises(VideoError), quarantine.watch(place.name, place):
            raise VideoError(place, "not a video", "x" * 3000)


@pytest.mark.usefixtures("_file_system")
@pytest.mark.parametrize("append", [_append_lines, _log_results, _quarantine])
def test_no_line_of_many_processes_is_lost(
    tmp_path: Path, append: Callable[[Path, int], None]
) -> None:
    path = tmp_path / "list"
    path.write_bytes(b'{"half a line of a process that di')
    writers = [FORK.Process(target=append, args=(path, LINES * i)) for i in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    _, *lines = filter(None, path.read_bytes().split(b"\n"))
    assert len(lines) == len(set(lines)) == WRITERS * LINES
    if append is _append_lines:
        numbers = {int(line.split()[1]) for line in lines}
        assert all(len(line.split()[2]) == 3000 for line in lines)
    else:
        numbers = {int(Path(json.loads(line)["path"]).stem) for line in lines}
    assert numbers == set(range(WRITERS * LINES))


@pytest.mark.usefixtures("_file_system")
def test_log_and_list_are_read_back(tmp_path: Path) -> None:
    video = tmp_path / "1.mp4"
    video.write_bytes(b"x")
    state = video.stat()
    result = DecodeResult(str(video), None, None, state.st_size, state.st_mtime_ns)
    DecodeLog(tmp_path / "log").add(result)
    assert DecodeLog(tmp_path / "log").still_true([result.part], 1) == {Part(str(video)): result}
    with pytest.raises(VideoError), Quarantine(tmp_path / "list").watch("1.mp4", video):
        raise VideoError(video, "not a video", "told once")
    again = Quarantine(tmp_path / "list").watch("1.mp4", video)
    with pytest.raises(VideoError, match="told once"), again:
        raise AssertionError("it is tried again")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_leftovers_stay_where_nobody_can_tell_who_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    left = tmp_path / ".partial" / "of another run"
    left.mkdir(parents=True)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with partial_folder(tmp_path) as own:
        assert own.is_dir()
    assert left.is_dir()
    assert not own.exists()


def test_lock_is_held_by_one(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", wait=True) as first, locked(tmp_path / "lock", wait=False) as no:
        assert (first, no) == (True, False)
    with locked(tmp_path / "lock", wait=False) as again:
        assert again


def test_fault_of_the_disk_is_not_taken_for_missing_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output error"):
        append_line(tmp_path / "list", b"line")
