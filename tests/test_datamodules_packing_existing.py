"""`kinetoscope pack --index_only`: archives of others, read as they are."""

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from equal_batches import FORM, assert_equal, batches
from grouped import data_settings
from range_server import serving

from datamodules import VideoFolderDataModule
from datamodules.errors import UserError
from datamodules.packing.dataset import index_archives
from datamodules.storage.elsewhere.blocks import process_blocks
from datamodules.storage.packed import open_pack
from lightning_modules.cli import main


def tar_of(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def videos_of(folder: Path) -> dict[str, bytes]:
    files = sorted(folder.rglob("*.mp4"))
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def index(source: Path, target: Path, **more: Any) -> list[str]:
    said: list[str] = []
    report = index_archives(source, target, say=said.append, **more)
    assert not report.failed
    return said


@pytest.fixture
def archives(class_folders: Path, tmp_path: Path) -> Path:
    """The same class folders in two tars and a zip, in an order of their own."""
    videos = videos_of(class_folders)
    names = list(videos)[::-1]
    third = len(names) // 3
    parts = names[:third], names[third : 2 * third], names[2 * third :]
    for number, part in enumerate(parts[:2]):
        tar_of(tmp_path / "archives" / f"{number}.tar", {name: videos[name] for name in part})
    with zipfile.ZipFile(tmp_path / "archives" / "rest.zip", "w", zipfile.ZIP_STORED) as archive:
        for name in parts[2]:
            archive.writestr(name, videos[name])
    return tmp_path / "archives"


def test_batches_equal_those_of_the_files(
    archives: Path, class_folders: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in archives.iterdir()}
    said = index(archives, tmp_path / "index")
    assert said[-1] == f"3 archives are indexed; give {tmp_path / 'index'} as data.root"
    assert {path: path.read_bytes() for path in archives.iterdir()} == before
    assert not list((tmp_path / "index").rglob("*.note"))
    assert_equal(batches(str(tmp_path / "index")), batches(str(class_folders)))
    assert "0 to do" in index(archives, tmp_path / "index")[0]


def test_index_beside_the_archives_on_a_server(
    archives: Path, class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(archives, tmp_path / "index")
    for path in sorted((tmp_path / "index").rglob("*")):
        if path.is_file() and path.name != "origin.txt":
            copy = archives / path.relative_to(tmp_path / "index")
            copy.parent.mkdir(exist_ok=True)
            path.rename(copy)
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KINETOSCOPE_NODE_CACHE", str(tmp_path / "node"))
    monkeypatch.delenv("KINETOSCOPE_NODE_CACHE_GB")
    process_blocks.cache_clear()
    with serving(archives) as address:
        assert_equal(batches(address), batches(str(class_folders)))
    process_blocks.cache_clear()


def labelled(class_folders: Path, label: Any) -> Iterator[tuple[str, bytes, bytes]]:
    for number, (name, content) in enumerate(videos_of(class_folders).items()):
        yield f"{number:05d}", content, str(label(name)).encode()


@pytest.fixture
def shards(class_folders: Path, tmp_path: Path) -> Path:
    """The same as webdataset keeps it: samples with a label each, for training and validation."""
    classes = sorted(path.name for path in class_folders.iterdir() if path.is_dir())
    files: dict[str, dict[str, bytes]] = {"train": {}, "val": {}}
    for key, video, label in labelled(class_folders, lambda n: classes.index(n.split("/")[0])):
        part = files["val" if int(key) % 3 == 0 else "train"]
        part |= {f"{key}.mp4": video, f"{key}.cls": label, f"{key}.json": b"{}"}
    for name, part in files.items():
        tar_of(tmp_path / "shards" / name / "000000.tar", part)
    (tmp_path / "shards" / "classes.txt").write_text("\n".join(classes))
    return tmp_path / "shards"


def test_labels_of_webdataset_become_lists(shards: Path, tmp_path: Path) -> None:
    root = tmp_path / "index"
    index(shards, root)
    lines = (root / "train.txt").read_text().splitlines()
    assert lines[:2] == ["00001.mp4 0", "00002.mp4 0"]
    assert sorted(path.name for path in root.glob("*.txt")) == [
        *("classes.txt", "origin.txt", "train.txt", "val.txt")
    ]
    data = VideoFolderDataModule(
        str(root),
        **data_settings(**{**FORM, "val_fraction": 0.0}),
        train_list="train.txt",
        val_list="val.txt",
        classes_file="classes.txt",
    )
    data.setup("fit")
    assert len(data.train_set) == len(lines)
    assert data.class_names == (shards / "classes.txt").read_text().splitlines()
    assert all(batch["valid"].all() for batch in data.val_dataloader())


def test_lists_of_their_own_stay(shards: Path, tmp_path: Path) -> None:
    (shards / "train.txt").write_text("00001.mp4 2\n")
    index(shards, tmp_path / "index")
    assert (tmp_path / "index" / "train.txt").read_text() == "00001.mp4 2\n"
    assert (tmp_path / "index" / "val.txt").read_text().startswith("00000.mp4 ")


def test_names_that_two_archives_share_get_the_archives_path(
    class_folders: Path, tmp_path: Path
) -> None:
    video = next(class_folders.rglob("*.mp4")).read_bytes()
    for name in ("a", "b"):
        tar_of(tmp_path / "tars" / f"{name}.tar", {"grow/0.mp4": video})
    index(tmp_path / "tars", tmp_path / "index")
    root = open_pack(tmp_path / "index")
    assert root is not None
    assert sorted(root.names()) == ["a", "b"]
    assert (root / "b" / "grow" / "0.mp4").is_file()


def test_compressed_and_broken_archives_are_named(class_folders: Path, tmp_path: Path) -> None:
    video = next(class_folders.rglob("*.mp4")).read_bytes()
    folder = tmp_path / "zips"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tight.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("grow/0.mp4", video)
    (folder / "broken.tar").write_bytes(b"nothing of a tar" * 100)
    with zipfile.ZipFile(folder / "flipped.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("grow/0.mp4", video)
    content = bytearray((folder / "flipped.zip").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "flipped.zip").write_bytes(content)
    tar_of(folder / "good.tar", {"grow/1.mp4": video})
    report = index_archives(folder, tmp_path / "index", say=lambda _: None)
    reasons = {str(job): reason for job, reason in report.failed}
    assert set(reasons) == {"tight.zip", "broken.tar", "flipped.zip"}
    assert (
        "1 of its videos are compressed once more, such as grow/0.mp4; store them"
        in (reasons["tight.zip"])
    )
    assert "no zip or tar" in reasons["broken.tar"]
    assert "the checksum of grow/0.mp4 in it differs" in reasons["flipped.zip"]
    with pytest.raises(UserError, match="not packed to its end"):
        batches(str(tmp_path / "index"))


def test_mistakes_of_the_command(
    archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = ["pack", "--index_only", "--workers=0"]
    with pytest.raises(SystemExit):
        main([*words, str(tmp_path / "empty"), str(tmp_path / "index")])
    assert "holds no tar or zip at any depth" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, str(archives), str(archives / "in")])
    assert "one lies in the other" in capsys.readouterr().err
    main([*words, str(archives), str(tmp_path / "index")])
    assert "3 archives are indexed" in capsys.readouterr().out
    (archives / "0.tar").unlink()
    with pytest.raises(SystemExit):
        main([*words, str(archives), str(tmp_path / "index")])
    assert "holds packed videos with files=3 archives" in capsys.readouterr().err
