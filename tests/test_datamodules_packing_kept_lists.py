"""Lists of packed datasets kept as arrays, and the shuffle of two levels over their shards."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.multiprocessing as torch_multiprocessing
from equal_batches import FORM, assert_equal, batches
from grouped import data_settings

from datamodules import VideoFolderDataModule
from datamodules.dataset import VideoDataset
from datamodules.errors import UserError
from datamodules.packing import kept_lists
from datamodules.packing.dataset import pack_dataset
from datamodules.samplers import BlockShuffle, TrainSampler
from datamodules.storage.packed import open_pack

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture
def packed(class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept_lists, "LEAST", 1)
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    source = shutil.copytree(class_folders, tmp_path / "source")
    videos = sorted(path.relative_to(source) for path in source.rglob("*.mp4"))
    lines = [f"{path} {path.parent.name}\n" for path in videos]
    (source / "train.txt").write_text("".join(lines[::2]))
    (source / "val.txt").write_text("".join(lines[1::2]))
    target = tmp_path / "packed"
    pack_dataset(source, target, shard_bytes=20_000, num_workers=0, say=str)
    return target


LISTS = {"train_list": "train.txt", "val_list": "val.txt"}


def data_of(root: Path, **settings: Any) -> VideoFolderDataModule:
    data = VideoFolderDataModule(str(root), **data_settings(**FORM | settings), **LISTS)
    with data.remarks.collected() as data.said:  # type: ignore[attr-defined]
        data.setup("fit")
    return data


def test_lists_are_read_once(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = data_of(packed)
    expected = [*first.train_dataloader(), *first.val_dataloader()]
    monkeypatch.setattr(VideoFolderDataModule, "read_lists", None)
    again = data_of(packed, batch_size=3)  # what lists do not depend on
    again = data_of(packed)
    assert again.class_names == first.class_names
    assert again.class_index() == first.class_index()
    assert again.test_split_name == first.test_split_name
    assert again.guessed_groups == first.guessed_groups
    assert again.said == first.said  # type: ignore[attr-defined]
    for ours, theirs in ((again.train_set, first.train_set), (again.test_set, first.test_set)):
        assert list(ours.video_ids) == list(theirs.video_ids)
        assert list(ours.groups) == list(theirs.groups)
        assert ours.table.digest == theirs.table.digest
        assert np.array_equal(ours.labels, theirs.labels)
    assert_equal([*again.train_dataloader(), *again.val_dataloader()], expected)


def test_other_lists_settings_and_code_are_read(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> int:
        return len(list((packed.parent / "cache" / "lists").iterdir()))

    count = len(data_of(packed).train_set)
    lines = (packed / "train.txt").read_text().splitlines(keepends=True)
    (packed / "train.txt").write_text("".join(lines[:-1]))
    assert len(data_of(packed).train_set) == count - 1
    (packed / "annotations").mkdir()
    (packed / "annotations" / "train.txt").touch()
    data_of(packed)  # another list could be preferred
    assert kept() == 3
    data_of(packed, seed=5)
    assert kept() == 4
    data_of(packed, num_frames=8, size=32)
    assert kept() == 4
    monkeypatch.setattr(kept_lists, "MOST", 2)
    data_of(packed, seed=6)
    assert kept() == 2
    monkeypatch.setattr(VideoFolderDataModule, "read_lists", None)
    data_of(packed, seed=6)  # the one used last was kept


def test_class_file_that_was_read_before(packed: Path) -> None:
    names = [path.name for path in sorted((packed.parent / "source").iterdir()) if path.is_dir()]
    (packed / "classes.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(names)))
    for expected in (names, names[::-1]):
        (packed / "classes.txt").write_text(
            "".join(f"{i} {name}\n" for i, name in enumerate(expected))
        )
        settings = data_settings(**FORM)
        data = VideoFolderDataModule(str(packed), **settings, **LISTS, classes_file="classes.txt")
        assert data.class_names == expected  # as `doctor` asks for them first
        data.setup("fit")
        first = data.train_set.table
        label = first.label(0)
        assert isinstance(label, int)
        assert expected[label] == first.paths[0].split("/")[0]


def test_what_does_not_tell_what_it_is_made_of_is_read(packed: Path) -> None:
    made = type("Own", (VideoFolderDataModule,), {"__module__": "nowhere"})
    data = made(str(packed), **data_settings(**FORM), **LISTS)
    data.setup("fit")
    data = VideoFolderDataModule(str(packed), **data_settings(**FORM), **LISTS)
    data.own = lambda: 0  # type: ignore[attr-defined]
    data.setup("fit")
    assert not (packed.parent / "cache" / "lists").exists()


@pytest.mark.parametrize("damage", ["about.json", "train_ids.npy", "gone", "mixed"])
def test_damage_is_read_anew(packed: Path, damage: str) -> None:
    ids = list(data_of(packed).train_set.video_ids)
    (folder,) = (packed.parent / "cache" / "lists").iterdir()
    if damage == "gone":
        (folder / "val_labels.npy").unlink()
    elif damage == "mixed":
        shutil.copy(folder / "val_labels.npy", folder / "train_labels.npy")
    else:
        (folder / damage).write_bytes((folder / damage).read_bytes()[:70])
    assert list(data_of(packed).train_set.video_ids) == ids


def test_folders_of_files_and_full_disks_keep_nothing(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_of(packed.parent / "source")
    assert not (packed.parent / "cache" / "lists").exists()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "mkdir", full)
    assert len(data_of(packed).train_set)


def test_processes_share_the_files(packed: Path) -> None:
    data_of(packed)
    dataset = data_of(packed).train_set
    assert len(pickle.dumps(dataset.table)) < 500
    absent = np.array([1, 3])
    assert list(pickle.loads(pickle.dumps(dataset.table.without(absent))).absent) == [1, 3]
    context = torch_multiprocessing.get_context("forkserver")
    with context.Pool(1) as pool:
        assert pool.apply(ids_of, (dataset,)) == list(dataset.video_ids)


def ids_of(dataset: VideoDataset) -> list[str]:
    assert dataset.table._kept_in is not None
    return list(dataset.video_ids)


def test_blocks_follow_shards() -> None:
    shards = np.repeat(np.arange(20, dtype=np.int32), 50)
    blocks, indices = BlockShuffle(shards, 100), np.arange(1000, dtype=np.int32)
    order = blocks.order(indices, np.random.default_rng(0))
    assert sorted(order.tolist()) == indices.tolist()
    assert indices.tolist() == list(range(1000))  # as it was
    for begin in range(0, 1000, 100):
        assert len(set(shards[order[begin : begin + 100]].tolist())) == 2
    assert blocks.neighbours(order) == pytest.approx(0.5, abs=0.06)
    assert blocks.neighbours(np.random.default_rng(0).permutation(1000)) < 0.1
    inside = order[:100]
    assert (np.diff(inside) < 0).any()
    assert not np.array_equal(order, blocks.order(indices, np.random.default_rng(1)))


def test_order_of_blocks_is_that_of_any_number_of_ranks(packed: Path) -> None:
    data = data_of(packed, shuffle_block=3)
    assert any("follow one of their own shard" in str(r) for r in data.said)  # type: ignore[attr-defined]
    blocks = data._blocks
    assert blocks is not None
    found = data.store.contents.shards_of(data.train_set.table.paths)  # type: ignore[attr-defined]
    members = [data.store / path for path in data.train_set.table.paths]
    assert found.tolist() == [m._found().shard for m in members]  # type: ignore[attr-defined]
    assert len(set(found.tolist())) > 2

    def epoch(world_size: int) -> list[set[int]]:
        indices, half = data.train_set.table.present, 4 // world_size
        ranks = [
            TrainSampler(indices, half, 7, lambda: (2, 0), rank, world_size, blocks=blocks)
            for rank in range(world_size)
        ]
        keys = [[key.index for key in sampler] for sampler in ranks]
        steps = len(keys[0]) // half
        return [
            {index for own in keys for index in own[step * half : (step + 1) * half]}
            for step in range(steps)
        ]

    assert epoch(1) == epoch(2)
    assert "blocks of 3" in data.train_order()["shuffle"]
    assert data_of(packed).train_order()["shuffle"] == ""


def test_shards_of_files_and_folders_of_frames(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("a/v0", "a/v1", "b/v2"):
        (source / folder).mkdir(parents=True)
        for number in range(3):
            (source / folder / f"{number}.jpg").write_bytes(b"x" * 900)
    (source / "b" / "v2.mp4").write_bytes(b"y" * 900)
    pack_dataset(source, tmp_path / "packed", shard_bytes=2000, num_workers=0, say=str)
    pack = open_pack(tmp_path / "packed")
    assert pack is not None
    names = ["a/v0", "a/v1", "b/v2", "b/v2.mp4"]
    for name, shard in zip(names, pack.contents.shards_of(names).tolist(), strict=True):
        files = [pack / name / f"{n}.jpg" for n in range(3)] if "mp4" not in name else [pack / name]
        assert shard in {file._found().shard for file in files}, name


def test_blocks_need_shards(packed: Path) -> None:
    with pytest.raises(UserError, match="is not packed; leave it out, or use"):
        data_of(packed.parent / "source", shuffle_block=3)
    with pytest.raises(UserError, match=r"shuffle_block=0"):
        data_of(packed, shuffle_block=0)
    assert batches(str(packed))
