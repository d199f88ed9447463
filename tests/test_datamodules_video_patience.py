"""Disks and mounts that fail for a moment, or for good: videos are waited for, and never blamed."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from grouped import data_settings
from PIL import Image
from video_files import assert_exact, scene, write

from datamodules import VideoFolderDataModule
from datamodules.storage import transient
from datamodules.storage.source import LocalPath
from datamodules.storage.transient import heard
from datamodules.video.errors import VideoError
from datamodules.video.frame_folder import FrameFolderReader
from datamodules.video.indices import cache as index_cache
from datamodules.video.quarantine import Quarantine
from datamodules.video.reader import VideoReader

FAULTS = [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN]


@dataclass
class Mount:
    """Files that fail while `left` is above 0, each access making it less."""

    left: int = 0
    number: int = errno.EIO
    slept: list[float] = field(default_factory=list)
    back: Callable[[], object] = lambda: None

    def touch(self) -> None:
        if self.left > 0:
            self.left -= 1
            raise OSError(self.number, os.strerror(self.number))

    def wait(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == 2:
            self.back()


class _Failing:
    """An open file on a mount."""

    def __init__(self, file: BinaryIO, mount: Mount) -> None:
        self._file, self._mount = file, mount

    def read(self, *words: int) -> bytes:
        self._mount.touch()
        return self._file.read(*words)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Failing":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mount:
    """Local files that FFmpeg reads through Python, on a mount that can be made to fail."""
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    index_cache.recent.clear()
    found, state, opened = Mount(), LocalPath.identity, LocalPath.open

    def identity(self: LocalPath) -> tuple[object, ...]:
        found.touch()
        return state(self)

    monkeypatch.setattr(LocalPath, "identity", identity)
    monkeypatch.setattr(LocalPath, "path", None)
    monkeypatch.setattr(LocalPath, "open", lambda self: _Failing(opened(self), found))
    monkeypatch.setattr(transient, "sleep", found.wait)
    return found


@pytest.mark.parametrize("number", FAULTS)
def test_fault_of_a_mount_is_waited_for(tmp_path: Path, mount: Mount, number: int) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(12))
    mount.left, mount.number = 2, number
    with heard() as sentences, VideoReader(path) as reader:
        assert reader.num_frames == 12
        mount.left = 2
        reader._release()
        assert reader.get_frames([3]).shape == (1, 3, 64, 64)
    assert mount.slept == [0.2, 0.6, 0.2, 0.6]
    assert len(sentences) == 4
    named = f"{path} could not be read ({errno.errorcode[number]}: "
    assert all(sentence.startswith(named) for sentence in sentences)
    assert assert_exact(path).num_frames == 12


def test_fault_that_stays_is_named_and_not_for_good(tmp_path: Path, mount: Mount) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(12))
    quarantine = Quarantine()
    mount.left = 10**6
    with (
        pytest.warns(UserWarning, match="trying again"),
        pytest.raises(VideoError, match=r"unreadable: .*Input/output error") as caught,
        quarantine.watch("a", path),
    ):
        VideoReader(path)
    assert caught.value.reason == "unreadable"
    assert mount.slept == list(transient.WAITS)
    mount.left = 0
    with quarantine.watch("a", path):
        VideoReader(path).close()


def test_damage_is_confirmed_by_reading_the_whole_file(tmp_path: Path, mount: Mount) -> None:
    good = write(tmp_path / "a.mkv", "libx264", scene(40), options={"g": "10"})
    data, path = good.read_bytes(), tmp_path / "b.mkv"
    path.write_bytes(data)
    reads = _Failing.read

    def torn(self: _Failing, *words: int) -> bytes:  # FFmpeg takes a failed read for the end
        content = reads(self, *words)
        if mount.left == -1 and self._file.tell() > len(data) // 2:
            mount.left = 0
            return b""
        return content

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Failing, "read", torn)
        mount.left = -1
        assert assert_exact(path).num_frames == 40
        assert mount.left == 0


def test_file_that_vanishes_ends_in_a_verdict(tmp_path: Path, mount: Mount) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(12))
    reader = VideoReader(path)
    reader._release()
    mount.left, mount.number = 2, errno.ENOENT  # between one look and the next
    with pytest.raises(VideoError) as caught:
        VideoReader(path)
    assert caught.value.reason == "missing"
    path.unlink()
    with pytest.raises(VideoError) as caught:
        reader.get_frames([0])
    assert caught.value.reason == "missing"
    assert mount.slept == []


def test_image_of_a_frame_folder_is_waited_for(tmp_path: Path, mount: Mount) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number:05d}.png")
    reader = FrameFolderReader(tmp_path)
    mount.left = 2
    with heard() as sentences:
        assert reader.get_frames([0, 2]).shape == (2, 3, 8, 8)
    assert len(sentences) == 2
    (tmp_path / "00001.png").unlink()
    with pytest.raises(VideoError) as caught:
        reader.get_frames([1])
    assert caught.value.reason == "missing"


def test_root_that_is_away_is_waited_for(
    class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Mount()
    monkeypatch.setattr(transient, "sleep", found.wait)
    settings = data_settings(num_frames=4, frame_stride=2, size=32, short_side=32, num_workers=0)
    data = VideoFolderDataModule(str(class_folders), val_fraction=0, **settings)
    data.setup("fit")
    away = tmp_path / "away"
    class_folders.rename(away)
    class_folders.mkdir()  # as where nothing is mounted

    def come_back() -> None:
        class_folders.rmdir()
        away.rename(class_folders)

    found.back = come_back
    item = data.train_set[0]
    assert item["broken"] == []
    assert len(item["waits"]) == len(found.slept) == 2
    assert item["waits"][0].startswith(f"{class_folders} could not be read (ENOENT: the folder is")
    shutil.rmtree(class_folders / "grow")  # a part that is gone is not waited for
    index = data.train_set.labels.tolist().index(0)
    assert [reason for _, reason in data.train_set[index]["broken"]][:1] == ["missing"]
    assert len(found.slept) == 2


def test_index_from_disk_that_does_not_hold_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    index_cache.recent.clear()
    path = write(tmp_path / "a.mpg", "mpeg2video", scene(30), options={"bf": "2", "g": "10"})
    place = LocalPath(path)
    for cleared in (True, False):  # as in another process, and in this one
        with VideoReader(path) as reader:
            reader._index.checksum[[4, 20]] ^= 1  # as of a file that was repaired, its time kept
            index_cache.remember(place, reader._index)
        if cleared:
            index_cache.recent.clear()
        assert assert_exact(path).num_frames == 30
        index_cache.recent.clear()  # what is on disk now holds too
        assert_exact(path)
    index_cache.forget(place)
    assert not list((tmp_path / "cache").rglob("*.note"))
