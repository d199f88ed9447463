"""Sources: the same bytes and the same frames from a path, an archive and an address."""

import io
import itertools
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from PIL import Image
from range_server import Ranges, serving
from video_files import cut, scene, write

from datamodules.annotations.json_files import read_json_entries
from datamodules.annotations.text_files import read_columns, read_lines
from datamodules.errors import UserError
from datamodules.flow.reading import open_flow
from datamodules.storage.source import Address, ArchiveMember, LocalPath, Source, as_source
from datamodules.video.errors import VideoError
from datamodules.video.indices import cache as index_cache
from datamodules.video.reader import VideoReader, open_video
from datamodules.video.segment import VideoSegment

NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    index_cache.recent.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with videos, lists, images and flow."""
    root = tmp_path / "data"
    (root / "videos").mkdir(parents=True)
    write(root / "videos" / "a.mp4", "libx264", scene(40), options={"g": "12", "bf": "2"})
    write(root / "videos" / "b.avi", "mpeg4", scene(20), options={"bf": "2"})  # is surveyed
    write(root / "videos" / "c.mkv", "libx264", scene(9))
    (root / "list.csv").write_bytes("\ufefflabel,name\r\nü,1\r\nb,2\r\n".encode())
    (root / "list.json").write_text('{"a": [1, 2], "b": {"c": "d"}}')
    for name in ("frames", "flow/u/v1", "flow/v/v1"):
        (root / name).mkdir(parents=True)
        for number in (1, 2, 3):
            grey = Image.new("L", (48, 40), 40 * number + len(name))
            grey.save(root / name / f"frame{number:06d}.png")
    return root


def zipped(folder: Path, method: int) -> str:
    """The folder in a zip, some members behind comments and extra fields."""
    target = folder.with_name(f"{next(NUMBERS)}.zip")
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            info = zipfile.ZipInfo.from_file(path, str(path.relative_to(folder)))
            info.extra, info.comment, info.compress_type = b"\x99\x99\x03\x00abc", b"why", method
            archive.writestr(info, b"" if path.is_dir() else path.read_bytes())
    return f"{target}!/"


def tarred(folder: Path) -> str:
    target = folder.with_name(f"{next(NUMBERS)}.tar")
    with tarfile.open(target, "w") as archive:
        archive.add(folder, arcname=".")
    return f"{target}!/"


def in_memory(folder: Path) -> str:
    """A copy in fsspec's memory."""
    url = f"memory://test{next(NUMBERS)}/"
    fsspec.filesystem("memory").put(f"{folder}/", url, recursive=True)
    return url


def tar_in_memory(folder: Path) -> str:
    local = tarred(folder).removesuffix("!/")
    url = f"memory://test{next(NUMBERS)}.tar"
    fsspec.filesystem("memory").put(local, url)
    return f"{url}!/"


PLACES: dict[str, Callable[[Path], str]] = {
    "path": lambda folder: f"{folder}/",
    "stored zip": lambda folder: zipped(folder, zipfile.ZIP_STORED),
    "deflated zip": lambda folder: zipped(folder, zipfile.ZIP_DEFLATED),
    "tar": tarred,
    "memory": in_memory,
    "tar in memory": tar_in_memory,
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, folder: Path) -> str:
    """Where the folder's contents are, in one of the ways."""
    return PLACES[request.param](folder)


def test_bytes_are_those_of_the_file(place: str, folder: Path) -> None:
    truth = (folder / "videos" / "a.mp4").read_bytes()
    source = as_source(place) / "videos" / "a.mp4"

    assert (source.exists(), source.is_file(), source.is_folder()) == (True, True, False)
    assert source.size() == len(truth)
    assert source.read(0, 64) == truth[:64]
    assert source.read(1000, 10) == truth[1000:1010]
    assert source.read(len(truth) - 5, 100) == truth[-5:]
    with source.open() as file:
        assert file.seek(-9, os.SEEK_END) == len(truth) - 9
        assert file.read() == truth[-9:]
        assert file.seek(100) == 100
        assert file.seek(7, os.SEEK_CUR) == file.tell() == 107
        assert file.read(300_000) == truth[107 : 107 + 300_000]
        file.seek(0)
        assert file.read() == truth
        with pytest.raises(OSError, match=r"."):
            file.seek(-1)


def test_folders_are_listed(place: str, folder: Path) -> None:
    root = as_source(place)

    assert set(root.names()) == {path.name for path in folder.iterdir()}
    assert set((root / "videos").names()) == {"a.mp4", "b.avi", "c.mkv"}
    assert (root / "flow" / "u").is_folder()
    for name in ("absent", "videos/absent.mp4", "videos/a.mp4/absent"):
        absent = root / name
        assert [absent.exists(), absent.is_file(), absent.is_folder()] == [False] * 3
        with pytest.raises(OSError, match="absent"):
            absent.open()
        with pytest.raises(OSError, match="absent"):
            absent.names()


def test_source_knows_where_it_is(place: str) -> None:
    root = as_source(place)
    video = root / "videos" / "a.mp4"

    assert (video.name, video.parent) == ("a.mp4", root / "videos")
    assert str(video) == f"{root}/videos/a.mp4".replace("!//", "!/").replace("//videos", "/videos")
    assert as_source(str(video)) == as_source(video) == video
    assert pickle.loads(pickle.dumps(video)) == video
    assert (video.path is None) == (not isinstance(root, LocalPath))
    above: Source | None = video
    for _ in range(20):
        above = above.parent if above is not None else None
    assert above is None


@pytest.mark.parametrize("name", ["a.mp4", "b.avi", "c.mkv"])
def test_frames_are_bit_identical(place: str, folder: Path, name: str) -> None:
    wanted = [7, 3, 3, 8, 0, -1]
    with VideoReader(folder / "videos" / name) as reader:
        wanted[-1] = reader.num_frames - 1
        truth, times = reader.get_frames(wanted), reader.timestamps
        everything = reader.get_frames(range(reader.num_frames))

    for _ in range(2):  # the second time from the index that is kept
        with open_video(as_source(place) / "videos" / name) as video:
            assert torch.equal(video.get_frames(wanted), truth)
            assert (video.timestamps == times).all()
            assert torch.equal(video.get_frames(range(video.num_frames)), everything)
        index_cache.recent.clear()
    with pickle.loads(pickle.dumps(video)) as again:
        assert again.source == video.source
    with VideoSegment(video.source, times[2], times[5]) as segment:
        assert torch.equal(segment.get_frames([0, 1, 2]), everything[2:5])


def test_image_folders_and_flow_are_bit_identical(place: str, folder: Path) -> None:
    with open_video(folder / "frames") as reader:
        truth = reader.get_frames([2, 0, 1])
    with open_flow(folder / "flow" / "v1", 4) as flow_reader:
        codes = flow_reader.get_flow([2, 0, 1])

    with open_video(as_source(place) / "frames") as video:
        assert torch.equal(video.get_frames([2, 0, 1]), truth)
    with open_flow(as_source(place) / "flow" / "v1", 4) as flow:
        assert torch.equal(flow.get_flow([2, 0, 1]), codes)


def test_lists_are_equal(place: str) -> None:
    root = as_source(place)

    assert read_lines(root / "list.csv") == ["label,name", "ü,1", "b,2"]
    assert read_columns(root / "list.csv", ["name", "label"], []) == [["1", "2"], ["ü", "b"]]
    assert dict(read_json_entries(root / "list.json")) == {"a": [1, 2], "b": {"c": "d"}}
    for read in (read_lines, lambda path: list(read_json_entries(path))):
        with pytest.raises(UserError, match=r"there is no list file at .*gone"):
            read(root / "gone")


def test_damaged_videos_have_the_same_verdict(folder: Path) -> None:
    videos = folder / "videos"
    cut(shutil.copy(videos / "a.mp4", videos / "cut.mp4"), 0.5)
    cut(shutil.copy(videos / "c.mkv", videos / "cut.mkv"), 0.5)
    (videos / "page.mp4").write_text("<html>")
    (videos / "empty.mp4").touch()
    (videos / "list.mp4").write_text("#EXTM3U\nhttp://127.0.0.1:9/a.mp4")
    names = ["cut.mp4", "cut.mkv", "page.mp4", "empty.mp4", "list.mp4", "gone.mp4"]
    found: dict[str, list[tuple[str, str]]] = {}
    for kind, make in PLACES.items():
        root = as_source(make(folder))
        for name in names:
            with pytest.raises(VideoError) as caught:
                VideoReader(root / "videos" / name).get_frames([0])
            assert str(root) in str(caught.value)
            detail = caught.value.detail.replace(f"{folder}/videos/", "")  # FFmpeg names the file
            found.setdefault(kind, []).append((caught.value.reason, detail))

    assert [reason for reason, _ in found["path"]] == [
        *("truncated", "truncated", "not a video", "empty file", "not a video", "missing")
    ]
    for verdicts in found.values():
        assert verdicts == found["path"]


def test_identity_changes_with_the_content(place: str, folder: Path) -> None:
    source = as_source(place) / "list.json"
    before = source.identity()
    assert source.identity() == before != (as_source(place) / "list.csv").identity()

    match source:
        case LocalPath(path):
            path.write_text("{}")
        case ArchiveMember(LocalPath(path), member):
            with tarfile.open(path, "w") as archive:
                info = tarfile.TarInfo(member)
                archive.addfile(info, io.BytesIO())
            assert source.size() == 0
        case Address(url):
            fsspec.filesystem("memory").pipe(url, b"{}")
        case ArchiveMember(Address(url), _):
            shutil.make_archive(str(folder.with_name("new")), "tar", folder / "videos")
            fsspec.filesystem("memory").put(str(folder.with_name("new.tar")), url)
            assert not source.exists()

    assert source.identity() != before


def test_index_of_a_local_file_is_found_by_path_size_and_time(folder: Path) -> None:
    """The key is that of indices on disks now, which stay good."""
    source = as_source(folder / "videos" / "a.mp4")
    state = os.stat(folder / "videos" / "a.mp4")
    path = os.path.abspath(folder / "videos" / "a.mp4")

    assert source.identity() == (path, state.st_size, state.st_mtime_ns)


def test_paths_are_never_addresses(folder: Path) -> None:
    """Listed paths are joined to a root as paths."""
    for word in ("memory://a/b.mp4", "http://127.0.0.1/b.mp4", "a.zip!/b.mp4"):
        assert isinstance(as_source(Path(word)), LocalPath)
        assert isinstance(as_source(folder / word), LocalPath)
    assert isinstance(as_source("a.zip/b.mp4"), LocalPath)
    assert isinstance(as_source("what!/b.mp4"), LocalPath)
    assert as_source("s3://a/b.tar!/c/d.mp4") == ArchiveMember(Address("s3://a/b.tar"), "c/d.mp4")


def test_archives_that_cannot_be_read_in_parts_are_refused(tmp_path: Path, folder: Path) -> None:
    shutil.make_archive(str(tmp_path / "packed"), "gztar", folder)
    os.rename(tmp_path / "packed.tar.gz", tmp_path / "packed.tar")
    with pytest.raises(OSError, match="packed again without compression"):
        as_source(f"{tmp_path}/packed.tar!/list.json").size()
    with zipfile.ZipFile(tmp_path / "bzip.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", b"x" * 1000)
    assert not as_source(f"{tmp_path}/bzip.zip!/a").exists()
    (tmp_path / "none.zip").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(VideoError, match="unreadable: it is no zip or tar"):
        VideoReader(f"{tmp_path}/none.zip!/a.mp4")
    assert not as_source(f"{tmp_path}/gone.zip!/a").exists()


def test_damaged_member_is_told(folder: Path) -> None:
    place = zipped(folder, zipfile.ZIP_DEFLATED)
    path = Path(place.removesuffix("!/"))
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("videos/a.mp4").header_offset
    content = bytearray(path.read_bytes())
    content[start + 500 : start + 520] = bytes(20)
    path.write_bytes(content)

    with pytest.raises(VideoError, match=r"unreadable: it is damaged in its archive"):
        VideoReader(f"{place}videos/a.mp4")


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    """Address of a web server of this machine."""
    with serving(folder) as address:
        yield address


def test_web_server_gives_the_same_frames(
    server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VideoReader(folder / "videos" / "a.mp4") as reader:
        truth = reader.get_frames([30, 2])
    with open_video(f"{server}/videos/a.mp4") as video:
        assert torch.equal(video.get_frames([30, 2]), truth)
    assert read_lines(f"{server}/list.csv") == ["label,name", "ü,1", "b,2"]
    with pytest.raises(VideoError, match="missing"):
        open_video(f"{server}/videos/gone.mp4")
    index_cache.recent.clear()
    monkeypatch.setattr(Ranges, "serves_parts", False)
    with pytest.raises(VideoError, match=r"unreadable: .* is not served in parts"):
        open_video(f"{server}/videos/a.mp4").get_frames([30])


def test_server_that_is_gone_is_not_a_damaged_video(server: str, folder: Path) -> None:
    with pytest.raises(VideoError) as caught:
        open_video("http://127.0.0.1:9/a.mp4")
    assert caught.value.reason in {"missing", "unreadable"}
    video = open_video(f"{server}/videos/a.mp4")
    (folder / "videos" / "a.mp4").unlink()
    video._release()  # so that it is opened anew
    with pytest.raises(VideoError) as caught:
        video.get_frames([0])
    assert caught.value.reason in {"missing", "unreadable"}
