"""`kinetoscope pack`: tar shards that tar reads, and that DataModules read as the files."""

import errno
import os
import shutil
import tarfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from equal_batches import FORM, assert_equal, batches
from grouped import data_settings
from PIL import Image
from range_server import Ranges, serving

from datamodules import VideoFolderDataModule
from datamodules.errors import ShardError, StorageError, UserError
from datamodules.health.decode_check import Part, decode_all
from datamodules.jobs.dataset_jobs import Step, process_videos
from datamodules.packing import dataset, shards
from datamodules.packing.dataset import list_files, pack_dataset
from datamodules.storage import transient
from datamodules.storage.elsewhere.blocks import process_blocks
from datamodules.storage.elsewhere.remote_packs import open_dataset
from datamodules.storage.packed import PackedPath, open_pack
from datamodules.storage.source import as_source
from datamodules.video.errors import VideoError
from datamodules.video.indices import cache as index_cache
from datamodules.video.reader import open_video
from lightning_modules.cli import main, told_in_a_sentence
from lightning_modules.prediction.videos import find_videos

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture
def original(class_folders: Path) -> Path:
    """Own videos with a list beside them, a frame folder among them."""
    frames = class_folders / "grow" / "frames"
    frames.mkdir()
    for number in range(1, 7):
        Image.new("RGB", (40, 32), (40 * number, 20, 10)).save(frames / f"{number:04d}.png")
    (class_folders / "list.txt").write_text("grow/frames 0\n")
    return class_folders


@pytest.fixture
def packed(original: Path, tmp_path: Path) -> Path:
    """The same packed, in several shards."""
    pack(original, tmp_path / "packed")
    return tmp_path / "packed"


def pack(source: Path, target: Path, **more: Any) -> list[str]:
    """Pack with small shards; what it says."""
    said: list[str] = []
    report = pack_dataset(source, target, shard_bytes=20_000, say=said.append, **more)
    assert not report.failed
    return said


def test_shards_are_plain_tars_of_all_files(original: Path, packed: Path, tmp_path: Path) -> None:
    tars = sorted((packed / "shards").iterdir())
    assert [tar.name for tar in tars] == [f"shard-{n:06d}.tar" for n in range(len(tars))]
    assert len(tars) > 3
    for shard in tars:
        with tarfile.open(shard) as archive:
            archive.extractall(tmp_path / "out", filter="data")
    files = sorted(p.relative_to(original) for p in original.rglob("*") if p.is_file())
    out = tmp_path / "out"
    videos = sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    assert sorted([*videos, Path("list.txt")]) == files
    assert all((out / f).read_bytes() == (original / f).read_bytes() for f in videos)
    assert (packed / "list.txt").read_text() == "grow/frames 0\n"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_equal_those_of_the_files(original: Path, packed: Path, num_workers: int) -> None:
    assert_equal(batches(str(packed), num_workers), batches(str(original)))


def test_batches_from_a_web_server_equal_those_of_the_files(
    original: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    with serving(tmp_path) as address:
        assert_equal(batches(f"{address}/packed/"), batches(str(original)))
        data = VideoFolderDataModule(f"{address}/packed", **data_settings(**FORM))
        assert data.place == f"{address}/packed"
        (cached,) = (tmp_path / "cache" / "packs").glob("*/")
        assert (cached / "list.txt").read_text() == "grow/frames 0\n"
        assert not (cached / "shards").exists()
        with pytest.raises(UserError, match=r"there is no packed dataset at .*gone"):
            batches(f"{address}/gone")


@pytest.fixture
def served(packed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address on a web server; what is kept of it, and waits, are the test's own."""
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(packed.parent / "cache"))
    monkeypatch.setenv("KINETOSCOPE_NODE_CACHE", str(packed.parent / "node"))
    monkeypatch.delenv("KINETOSCOPE_NODE_CACHE_GB")
    monkeypatch.setattr(transient, "sleep", lambda _: None)
    process_blocks.cache_clear()
    with serving(packed.parent) as address:
        yield f"{address}/packed"
    process_blocks.cache_clear()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_server_is_asked_ahead_and_only_once(served: str, original: Path, num_workers: int) -> None:
    assert_equal(batches(served, num_workers), batches(str(original)))
    sent = process_blocks().fetched_bytes
    assert (sent > 0) == (num_workers == 0)
    assert_equal(batches(served, num_workers), batches(str(original)))
    assert process_blocks().fetched_bytes == sent


def test_what_was_fetched_is_all_that_is_read(served: str) -> None:
    folder = open_dataset(served)
    assert isinstance(folder, PackedPath)
    for place in _videos(folder):
        with open_video(place) as video:
            for frames in ([0], [3, 9], [video.num_frames - 1]):
                video.fetch(frames)
                sent = process_blocks().fetched_bytes
                video.get_frames(frames)
                assert process_blocks().fetched_bytes == sent


def test_dataset_that_was_packed_anew_is_copied_anew(
    served: str, packed: Path, original: Path
) -> None:
    assert_equal(batches(served), batches(str(original)))
    videos = sorted((original / "grow").glob("*.mp4"))
    content = videos[0].read_bytes()
    videos[0].write_bytes(content[:-8] + content[-8:][::-1])  # the same size, other bytes
    shutil.rmtree(packed)
    pack(original, packed)
    assert_equal(batches(served), batches(str(original)))


def test_server_that_is_busy_for_a_moment_costs_nothing(served: str, original: Path) -> None:
    data = VideoFolderDataModule(served, **data_settings(**FORM, num_workers=0))
    data.setup("fit")
    Ranges.statuses.extend([503, 500, 429, 503])
    found = [*data.train_dataloader(), *data.val_dataloader()]
    assert not Ranges.statuses
    assert_equal(found, batches(str(original)))
    waits = [sentence for batch in found for sentence in batch["waits"]]
    assert all("trying again in" in sentence for sentence in waits)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_shard_that_a_server_loses_ends_the_run_and_is_named(
    served: str, packed: Path, num_workers: int
) -> None:
    data = VideoFolderDataModule(served, **data_settings(**FORM, num_workers=num_workers))
    data.setup("fit")
    for shard in (packed / "shards").iterdir():
        shard.unlink()
    with pytest.raises(ShardError) as raised:
        list(data.train_dataloader())
    sentence = told_in_a_sentence(raised.value)
    assert sentence is not None
    assert sentence.startswith(served)
    assert ".tar cannot be read (" in sentence
    assert sentence.endswith("then give the same command again")


def test_members_are_found_listed_and_named(packed: Path, original: Path) -> None:
    pack_root = open_pack(packed)
    assert pack_root is not None
    assert sorted(pack_root.entries()) == [
        *(("grow", True), ("move_up", True), ("turn_clockwise", True))
    ]
    frames = pack_root / "grow" / "frames"
    assert frames.names() == [f"{number:04d}.png" for number in range(1, 7)]
    assert frames.is_folder()
    assert not frames.is_file()
    assert not (pack_root / "gro").exists()
    name = sorted((original / "grow").glob("*.mp4"))[0].name
    file = as_source(f"{packed}!/grow/{name}")
    assert isinstance(file, PackedPath)
    assert as_source(str(file)) == file
    assert file.open().read() == file.read(0, 10**9) == (original / "grow" / name).read_bytes()
    with open_video(file) as video, open_video(original / "grow" / name) as plain:
        assert torch.equal(video.get_frames([3, 0]), plain.get_frames([3, 0]))


def test_stopped_pass_goes_on_and_several_runs_share_the_work(
    original: Path, packed: Path, tmp_path: Path
) -> None:
    whole = {path.name: path.read_bytes() for path in (packed / "shards").iterdir()}
    shared = tmp_path / "shared"
    said = pack(original, shared, shard=(0, 2))
    assert "left for other runs" in said[-1]
    assert len(list((shared / "shards").glob("*.tar"))) == (len(whole) + 1) // 2
    with pytest.raises(UserError, match="not packed to its end; go on with `kinetoscope pack`"):
        batches(str(shared))
    assert "give" in pack(original, shared, shard=(1, 2))[-1]
    assert {p.name: p.read_bytes() for p in (shared / "shards").iterdir()} == whole
    assert_equal(batches(str(shared)), batches(str(original)))
    assert "0 to do" in pack(original, shared)[0]


def test_runs_that_end_together_write_one_index(
    original: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, read = tmp_path / "shared", dataset.read_record
    pack(original, shared, shard=(0, 2))
    other = threading.Thread(target=pack, args=(original, shared), kwargs={"shard": (0, 2)})

    def with_another(path: Path) -> Any:
        if other.ident is None:  # it finds all shards done, and no index
            other.start()
            other.join(timeout=0.5)
        return read(path)

    monkeypatch.setattr(dataset, "read_record", with_another)
    pack(original, shared, shard=(1, 2))
    other.join(timeout=60)
    assert not other.is_alive()
    assert not list((shared / "shards").glob("*.npz"))
    assert_equal(batches(str(shared)), batches(str(original)))


def test_killed_pass_leaves_no_half_shard(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "checksum_of", killed)
    target = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        pack(original, target)
    assert not list(target.rglob("*.tar"))
    monkeypatch.undo()
    pack(original, target)
    assert_equal(batches(str(target)), batches(str(original)))


def test_copy_that_differs_is_no_shard(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "checksum_of", lambda *_: 1)
    said: list[str] = []
    report = pack_dataset(original, tmp_path / "bad", shard_bytes=20_000, say=said.append)
    assert report.failed
    assert "its copy in shard-000000.tar differs; check the disk" in report.failed[0][1]
    assert not list((tmp_path / "bad" / "shards").glob("*.tar"))


class FullDisk:
    """A tar that is written where there is no more room."""

    def __init__(self, path: Path, mode: str, **_: Any) -> None:
        self.path = path

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def addfile(self, entry: tarfile.TarInfo, file: Any) -> None:
        file.read(min(10, entry.size))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))


def test_full_disk_is_no_fault_of_a_video(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.packing.shards.tarfile.open", FullDisk)
    with pytest.raises(StorageError, match=r"0 of \d+ shards done, .*No space left .*goes on"):
        pack(original, tmp_path / "full")
    monkeypatch.undo()
    pack(original, tmp_path / "full")
    assert_equal(batches(str(tmp_path / "full")), batches(str(original)))


def test_video_that_cannot_be_read_is_named(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = list_files(original)
    video = next((original / "grow").glob("*.mp4"))
    video.rename(video.with_suffix(".away"))
    monkeypatch.setattr("datamodules.packing.dataset.list_files", lambda _: listed)
    said: list[str] = []
    report = pack_dataset(original, tmp_path / "lost", shard_bytes=20_000, say=said.append)
    ((job, reason),) = report.failed
    assert str(job).startswith("shard-")
    assert reason == f"unreadable: {video}: No such file or directory"
    assert f"{report.total - 1} of {report.total} shards done" in said[1]


def test_video_that_becomes_shorter_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abc")
    with path.open("rb") as file:
        reading = shards._Checked(path, file)
        assert reading.read(2) == b"ab"
        with pytest.raises(VideoError, match=r"a.mp4 became shorter while it was read"):
            reading.read(2)


def test_index_that_cannot_be_read_is_told(packed: Path) -> None:
    (packed / "index" / "about.json").unlink()
    with pytest.raises(UserError, match=r"index/about\.json"):
        batches(str(packed))


def test_other_files_or_settings_are_refused(original: Path, packed: Path) -> None:
    next((original / "grow").glob("*.mp4")).unlink()
    with pytest.raises(UserError, match=r"holds packed videos with files=.* was asked"):
        pack(original, packed)
    with pytest.raises(UserError, match="shards of 0 bytes"):
        pack_dataset(original, packed, shard_bytes=0, say=print)


def test_packed_dataset_is_not_packed_again(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["pack", str(packed), str(tmp_path / "made")])
    assert "is packed already; give the folder" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("where", ["disk", "server"])
def test_flow_and_transcoding_equal_those_of_the_files(
    original: Path, packed: Path, served: str, tmp_path: Path, where: str
) -> None:
    source = str(packed) if where == "disk" else served
    for command, options in (
        ("flow", ["--method=dis", "--short_side=32", "--storage=jpeg"]),
        ("transcode", ["--short_side=32"]),
    ):
        if command == "transcode":  # which takes no frame folders
            shutil.rmtree(original / "grow" / "frames")
            pack(original, tmp_path / "files_only")
            source = source.replace("packed", "files_only")
        found, expected = tmp_path / f"{command}_packed", tmp_path / f"{command}_files"
        main([command, source, str(found), "--workers=0", *options])
        main([command, str(original), str(expected), "--workers=0", *options])
        names = sorted(p.relative_to(expected) for p in expected.rglob("*") if p.is_file())
        assert names == sorted(p.relative_to(found) for p in found.rglob("*") if p.is_file())
        assert Path("list.txt") in names or command == "flow"
        for name in names:
            if name.suffix in (".jpg", ".txt"):  # x264 does not write the same bytes twice
                assert (found / name).read_bytes() == (expected / name).read_bytes()


def test_videos_in_it_are_found_by_their_paths(packed: Path, original: Path) -> None:
    found = find_videos([str(packed)])
    files = [*original.rglob("*.mp4"), original / "grow" / "frames"]
    names = sorted(path.relative_to(original).as_posix() for path in files)
    assert found == sorted(f"{packed}!/{name}" for name in names)
    some = [f"{packed}!/move_up"]
    assert find_videos(some) == [video for video in found if "!/move_up/" in video]
    (packed / "few.txt").write_text("grow/frames 0\n")
    assert find_videos([str(packed / "few.txt")]) == [f"{packed}!/grow/frames"]


def test_damaged_notes_cost_time_alone(packed: Path, original: Path) -> None:
    notes = packed / "index" / "notes.bin"
    assert notes.stat().st_size > 1000
    notes.write_bytes(bytes(notes.stat().st_size))
    index_cache.recent.clear()
    assert_equal(batches(str(packed)), batches(str(original)))


def test_index_of_another_version_is_refused(packed: Path) -> None:
    about = packed / "index" / "about.json"
    about.write_text(about.read_text().replace('"block_bytes": 4096', '"block_bytes": 8192'))
    with pytest.raises(UserError, match="is of another version; make it anew"):
        batches(str(packed))


def test_cut_and_missing_shards_are_named(packed: Path) -> None:
    pack_root = open_pack(packed)
    assert pack_root is not None
    tars = sorted((packed / "shards").iterdir())
    last = [path for path in _videos(pack_root) if path.span and path.span.path == tars[-1]][-1]
    assert last.span is not None
    tars[-1].write_bytes(tars[-1].read_bytes()[: last.span.start + 100])
    with pytest.raises(ShardError, match=r"shard-0000\d\d.tar ends within turn_clockwise/"):
        frames_of(last)
    for num_workers in (0, 1):
        report = process_videos(_read_all, [last], num_workers)
        with pytest.raises(ShardError, match="ends within turn_clockwise/"):
            list(report)
    (result,) = decode_all([Part(str(last))], 1, limit=60)
    assert result.verdict == "unreadable"
    assert "ends within turn_clockwise/" in result.detail
    tars[0].unlink()
    with pytest.raises(ShardError, match=r"there is no shard .*shard-000000.tar"):
        frames_of(next(_videos(pack_root)))


def _read_all(place: PackedPath) -> Generator[Step, None, None]:
    frames_of(place)
    yield Step(1, 1.0)


def frames_of(place: PackedPath) -> torch.Tensor:
    with open_video(place) as video:
        return video.get_frames([5])


def _videos(folder: PackedPath) -> Iterator[PackedPath]:
    for name, is_folder in folder.entries():
        if is_folder:
            yield from _videos(folder / name)
        elif name.endswith(".mp4"):
            yield folder / name


def test_command_packs_and_says_what_to_do_next(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["pack", str(original), str(tmp_path / "made"), "--workers=0"])
    assert f"give {tmp_path / 'made'} as data.root" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["pack", str(tmp_path / "nothing"), str(tmp_path / "made2")])
    assert "there is nothing at" in capsys.readouterr().err


def test_real_frame_folders_and_lists(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "weizmann_4"
    pack_dataset(source, tmp_path / "packed", shard_bytes=500_000, say=lambda _: None)
    lists = {"train_list": "train.txt", "test_list": "val.txt", "classes_file": "classes.txt"}

    def loaded(root: Path) -> list[dict[str, Any]]:
        settings = data_settings(**FORM, num_workers=0)
        data = VideoFolderDataModule(str(root), **settings, **lists)
        data.setup("fit")
        return list(data.train_dataloader())

    assert_equal(loaded(tmp_path / "packed"), loaded(source))
