"""Files elsewhere in blocks: fetched once, checked, kept on the node, and faults told in a word."""

import errno
import os
import random
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.errors import ShardError, UserError
from datamodules.storage import transient
from datamodules.storage.elsewhere import node_cache
from datamodules.storage.elsewhere.blocks import MEMORY, BlockFile, Blocks, block_checksums
from datamodules.storage.elsewhere.node_cache import BLOCK, NodeCache
from datamodules.storage.local import LocalPath

SIZE = 20 * BLOCK + 123


@dataclass(frozen=True)
class Server(LocalPath):
    """A file elsewhere, which notes what is asked of it, and fails as it is told to."""

    asked: list[tuple[int, int]] = field(default_factory=list, compare=False)
    faults: list[Callable[[bytes], bytes]] = field(default_factory=list, compare=False)

    def read(self, start: int, length: int) -> bytes:
        self.asked.append((start, length))
        content = super().read(start, length)
        return self.faults.pop(0)(content) if self.faults else content


def failing(error: Exception) -> Callable[[bytes], bytes]:
    def fail(_: bytes) -> bytes:
        raise error

    return fail


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(transient, "sleep", waited.append)
    return waited


@pytest.fixture
def content() -> bytes:
    return random.Random(0).randbytes(SIZE)


@pytest.fixture
def file(content: bytes, tmp_path: Path) -> BlockFile:
    path = tmp_path / "shard.tar"
    path.write_bytes(content)
    checksums = np.array(block_checksums(path), np.uint32)
    return BlockFile(Server(path), SIZE, checksums, "shard")


def server(file: BlockFile) -> Server:
    assert isinstance(file.source, Server)
    return file.source


def blocks(tmp_path: Path, **settings: Any) -> Blocks:
    return Blocks(NodeCache(tmp_path / "cache", **settings))


def test_parts_are_those_of_the_file(file: BlockFile, content: bytes, tmp_path: Path) -> None:
    shared = blocks(tmp_path)
    chooser = random.Random(1)
    for _ in range(200):
        start = chooser.randrange(SIZE)
        length = chooser.choice((1, 100, BLOCK, chooser.randrange(SIZE)))
        assert shared.read(file, start, length) == content[start : start + length]
    assert shared.read(file, SIZE, 10) == b""
    assert SIZE <= shared.fetched_bytes < 1.5 * SIZE  # once, but for some in small gaps


def test_parts_close_to_each_other_come_together(file: BlockFile, tmp_path: Path) -> None:
    blocks(tmp_path).fetch(file, [(0, 10), (2 * BLOCK, 3 * BLOCK), (SIZE - 1, SIZE + 500)])
    assert server(file).asked == [(0, 3 * BLOCK), (20 * BLOCK, 123)]


def test_another_process_reads_what_is_kept(
    file: BlockFile, content: bytes, tmp_path: Path
) -> None:
    blocks(tmp_path).fetch(file, [(0, 5 * BLOCK)])
    server(file).asked.clear()
    assert blocks(tmp_path).read(file, 10, 4 * BLOCK) == content[10 : 10 + 4 * BLOCK]
    assert not server(file).asked
    kept = tmp_path / "cache" / "shard"
    damaged = bytearray(kept.read_bytes())
    damaged[BLOCK + 7] ^= 1
    damaged[3 * BLOCK : 4 * BLOCK] = bytes(BLOCK)
    kept.write_bytes(damaged)
    assert blocks(tmp_path).read(file, 0, 5 * BLOCK) == content[: 5 * BLOCK]
    assert server(file).asked == [(BLOCK, 3 * BLOCK)]
    assert kept.read_bytes()[: 5 * BLOCK] == content[: 5 * BLOCK]


def test_threads_fetch_each_block_once(file: BlockFile, content: bytes, tmp_path: Path) -> None:
    shared = blocks(tmp_path)
    starts = [BLOCK * (i % 7) for i in range(64)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda start: shared.read(file, start, 3 * BLOCK), starts))
    assert found == [content[start : start + 3 * BLOCK] for start in starts]
    assert shared.fetched_bytes <= 12 * BLOCK  # the nine that were wanted, and small gaps


def test_threads_close_no_file_that_another_writes(
    file: BlockFile, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite

    def late(*arguments: Any) -> int:
        time.sleep(0.001)  # so that others are under way
        return write(*arguments)

    monkeypatch.setattr(node_cache.os, "pwrite", late)
    monkeypatch.setattr(node_cache, "_OPEN_FILES", 1)
    files = [BlockFile(file.source, SIZE, file.checksums, f"shard{n}") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        shared = blocks(tmp_path)
        found = list(pool.map(lambda one: shared.read(one, 0, SIZE), files * 4))
    assert found == [content] * 32
    kept = [tmp_path / "cache" / one.name for one in files]
    assert [path.read_bytes() for path in kept] == [content] * 8


def test_faults_that_pass_are_waited_for(
    file: BlockFile, content: bytes, tmp_path: Path, waits: list[float]
) -> None:
    server(file).faults.extend(
        (
            failing(OSError("503 Service Unavailable")),
            failing(OSError(errno.ETIMEDOUT, "no answer")),
            lambda part: part[:-1],
            lambda part: bytes(len(part)),
        )
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert blocks(tmp_path).read(file, 0, 100) == content[:100]
    assert waits == list(transient.WAITS)
    sentences = [str(warning.message) for warning in said]
    assert all(str(file.source) in sentence for sentence in sentences)
    words = (
        "503 Service Unavailable",
        "no answer",
        f"{BLOCK - 1} of {BLOCK} bytes came",
        "not the one that",
    )
    assert all(word in sentence for word, sentence in zip(words, sentences, strict=True))


@pytest.mark.filterwarnings("ignore:.*trying again in")
@pytest.mark.parametrize(
    ("faults", "attempts", "reason"),
    [
        ([failing(FileNotFoundError(errno.ENOENT, "not there"))], 1, "not there"),
        ([failing(PermissionError(errno.EACCES, "no key"))], 1, "no key"),
        ([failing(OSError("503"))] * 9, 5, "503"),
        ([lambda part: b"x" * len(part)] * 9, 5, "block 2 is not the one that was packed"),
        ([lambda part: part + b"more"] * 9, 5, f"{BLOCK + 4} of {BLOCK} bytes came"),
    ],
)
def test_faults_that_stay_name_the_file(
    file: BlockFile,
    content: bytes,
    tmp_path: Path,
    faults: Sequence[Callable[[bytes], bytes]],
    attempts: int,
    reason: str,
) -> None:
    server(file).faults.extend(faults)
    shared = blocks(tmp_path)
    with pytest.raises(ShardError, match=rf"shard\.tar cannot be read \({reason}\); see that it"):
        shared.read(file, 2 * BLOCK + 5, 10)
    assert len(server(file).asked) == attempts
    server(file).faults.clear()
    assert shared.read(file, 2 * BLOCK + 5, 10) == content[2 * BLOCK + 5 :][:10]


def test_full_disk_is_said_once_and_costs_nothing_else(
    file: BlockFile, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(node_cache.os, "pwrite", full)
    shared = blocks(tmp_path)
    with pytest.warns(UserWarning, match="No space left on device.*read anew each time") as said:
        assert shared.read(file, 0, SIZE) == content
    assert len(said) == 1
    assert shared.read(file, 0, SIZE) == content
    assert shared.fetched_bytes == SIZE  # the second time from memory


def test_folder_of_another_user_is_not_used(
    file: BlockFile, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_cache.os, "getuid", lambda: 4711)
    with pytest.warns(UserWarning, match="it belongs to another user"):
        assert blocks(tmp_path).read(file, 0, SIZE) == content


def test_files_used_least_lately_go_first(file: BlockFile, content: bytes, tmp_path: Path) -> None:
    names = "abcdef"
    files = [BlockFile(file.source, SIZE, file.checksums, name) for name in names]
    shared = blocks(tmp_path, max_bytes=3 * SIZE)
    for number, one in enumerate(files):
        shared.fetch(one, [(0, SIZE)])
        os.utime(tmp_path / "cache" / one.name, (number, number))
    kept = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert len(kept) <= 5
    assert "f" in kept
    assert "a" not in kept
    assert blocks(tmp_path).read(files[0], 0, SIZE) == content


def test_file_that_another_process_removed_is_made_anew(
    file: BlockFile, content: bytes, tmp_path: Path
) -> None:
    shared = blocks(tmp_path)
    shared.fetch(file, [(0, BLOCK)])
    (tmp_path / "cache" / "shard").unlink()
    shared.fetch(file, [(BLOCK, 2 * BLOCK)])
    assert (tmp_path / "cache" / "shard").read_bytes()[BLOCK:] == content[BLOCK : 2 * BLOCK]


def test_memory_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(3 * MEMORY // 2))
    checksums = np.array(block_checksums(path), np.uint32)
    shared = blocks(tmp_path, max_bytes=0)
    large = BlockFile(LocalPath(path), path.stat().st_size, checksums, "large")
    for start in range(0, large.size, 2**20):
        shared.read(large, start, 2**20)
    assert len(shared._held) * BLOCK <= MEMORY
    assert not (tmp_path / "cache").exists()


def test_environment_says_where_and_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_NODE_CACHE", str(tmp_path / "mine"))
    assert node_cache.node_cache().folder == tmp_path / "mine"
    assert node_cache.node_settings() == (tmp_path / "mine", 0)  # as of every test
    for wrong in ("much", "-1"):
        monkeypatch.setenv("KINETOSCOPE_NODE_CACHE_GB", wrong)
        with pytest.raises(UserError, match=f"KINETOSCOPE_NODE_CACHE_GB={wrong} is no size"):
            node_cache.node_cache()
