"""Videos encoded once more on their way into shards."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from equal_batches import FORM, assert_equal, batches
from grouped import data_settings
from range_server import serving

from datamodules import VideoFolderDataModule
from datamodules.errors import UserError
from datamodules.packing.dataset import pack_dataset
from datamodules.transcoding.dataset import transcode_dataset
from datamodules.transcoding.settings import TranscodeSettings
from datamodules.transcoding.work import Transcoding
from datamodules.video.errors import VideoError

SMALL = TranscodeSettings(short_side=32, key_frames=2)


@pytest.fixture
def source(class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(class_folders, tmp_path / "source")


def packed(source: Path, target: Path, settings: TranscodeSettings | None) -> list[str]:
    said: list[str] = []
    pack_dataset(source, target, shard_bytes=30_000, transcoding=settings, say=said.append)
    return said


def test_clips_are_those_of_transcoded_files(source: Path, tmp_path: Path) -> None:
    transcode_dataset(source, tmp_path / "files", SMALL, say=str)
    said = packed(source, tmp_path / "shards", SMALL)
    assert_equal(batches(str(tmp_path / "shards")), batches(str(tmp_path / "files")))
    assert any("PSNR" in line for line in said)
    assert packed(source, tmp_path / "shards", SMALL)[-1].endswith("as data.root")  # nothing to do
    with serving(tmp_path) as address:
        for place in (f"{address}/shards", str(tmp_path / "shards"), str(tmp_path / "files")):
            data = VideoFolderDataModule(place, **data_settings(**FORM))
            data.setup("test")
            assert data.input_spec()["transcoded"]["short_side"] == 32
    with pytest.raises(UserError, match="transcoding"):
        packed(source, tmp_path / "shards", TranscodeSettings(short_side=48))


def test_broken_videos_are_packed_as_they_are(source: Path, tmp_path: Path) -> None:
    broken = sorted(source.rglob("*.mp4"))[3]
    name = broken.relative_to(source).as_posix()
    broken.write_bytes(b"no video at all")
    said = packed(source, tmp_path / "shards", SMALL)
    told = "1 videos could not be transcoded and are packed as they are"
    assert any(told in line for line in said), "\n".join(said)
    assert json.loads((tmp_path / "shards" / "not_transcoded.jsonl").read_text()) == {
        "video": name,
        "reason": "not a video",
    }
    for shard in (tmp_path / "shards" / "shards").iterdir():
        with tarfile.open(shard) as tar:
            if name in tar.getnames():
                member = tar.extractfile(name)
                assert member is not None
                assert member.read() == b"no video at all"
                return
    pytest.fail("the broken video is in no shard")


def test_two_videos_that_become_one_are_refused(source: Path, tmp_path: Path) -> None:
    video = sorted(source.rglob("*.mp4"))[0]
    shutil.copy(video, video.with_suffix(".avi"))
    with pytest.raises(UserError, match="would both become"):
        packed(source, tmp_path / "shards", SMALL)


def test_faults_of_a_disk_are_not_the_videos(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise VideoError("a.mp4", "unreadable", "Input/output error")

    monkeypatch.setattr(Transcoding, "__call__", failing)
    report = pack_dataset(source, tmp_path / "shards", transcoding=SMALL, say=str)
    assert report.failed
    assert not list((tmp_path / "shards" / "shards").glob("*.tar"))
    assert not (tmp_path / "shards" / "not_transcoded.jsonl").exists()
