"""Notes of videos that the processes of a machine share: what is kept, and what faults cost."""

import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from video_files import assert_exact, scene, write

from datamodules.storage.elsewhere.node_cache import NodeCache
from datamodules.video import reader
from datamodules.video.indices import cache as index_cache
from datamodules.video.indices import node_store as store_module
from datamodules.video.indices.node_store import NodeStore, node_store
from datamodules.video.reader import VideoReader

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("KINETOSCOPE_NODE_CACHE", str(tmp_path / "node"))
    monkeypatch.delenv("KINETOSCOPE_NODE_CACHE_GB")
    index_cache.recent.clear()
    store_module._store.cache_clear()
    yield tmp_path / "node" / "indices"
    store_module._store.cache_clear()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write(tmp_path / "a.mp4", "libx264", scene(12))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(store_module, "tell", found.append)
    return found


def in_another_process(work: Any, *values: Any) -> None:
    process = FORK.Process(target=work, args=values)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def open_once(path: Path) -> None:
    VideoReader(path).close()


def test_video_that_another_process_has_read_is_not_indexed_again(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node_store().get("nothing") == b""  # opened before the fork, as by a dataset's setup
    in_another_process(open_once, video)
    with monkeypatch.context() as patch:
        patch.setattr(reader, "build_index", None)
        assert assert_exact(video).num_frames == 12
    write(video, "libx264", scene(9))  # another file at the same place
    assert assert_exact(video).num_frames == 9


def put_all(store: NodeStore, number: int) -> None:
    threads = [
        threading.Thread(target=store.put, args=(f"{number} {n}", bytes([n]) * 3000))
        for n in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_processes_and_threads_write_at_once(folder: Path) -> None:
    store = NodeStore(folder, 10**9)
    store.put("own", b"note")
    processes = [FORK.Process(target=put_all, args=(store, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert store.get("own") == b"note"
    for number in range(4):
        assert [store.get(f"{number} {n}") for n in range(50)] == [
            bytes([n]) * 3000 for n in range(50)
        ]


def test_forking_beside_threads_that_write(folder: Path) -> None:
    store = NodeStore(folder, 10**9)
    is_over = threading.Event()

    def write_on() -> None:
        while not is_over.is_set():
            store.put("thread", bytes(3000))

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        for number in range(30):
            in_another_process(store.put, str(number), b"note")
    finally:
        is_over.set()
        thread.join()
    found = [store.get(str(number)) for number in range(30)]
    assert set(found) <= {b"note", b""}  # one that waits for too long keeps nothing
    assert found.count(b"note") > 15
    store.put("last", b"note")
    assert store.get("last") == b"note"


def test_store_that_is_locked_while_it_is_opened_is_opened_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_PATIENCE", 0.1)
    store = NodeStore(folder, 10**9)
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        store.put("a", b"note")
        assert store.get("a") == b""
        database.execute("COMMIT")
    store.put("a", b"note")
    assert store.get("a") == b"note"


def put_and_die(store: NodeStore) -> None:
    for number in range(10**6):
        store.put(str(number), bytes(3000))
        if number == 20:
            os.kill(os.getpid(), signal.SIGKILL)


def test_killed_process_leaves_a_store(folder: Path) -> None:
    store = NodeStore(folder, 10**9)
    process = FORK.Process(target=put_and_die, args=(store,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert store.get("20") == bytes(3000)
    store.put("more", b"note")
    assert store.get("more") == b"note"
    store.drop("more")
    assert store.get("more") == b""


@pytest.mark.parametrize("damage", ["no store", "noise within"])
def test_broken_store_is_begun_anew(folder: Path, damage: str, said: list[str]) -> None:
    store = NodeStore(folder, 10**9)
    for number in range(200):
        store.put(f"{number:03}", bytes(3000))
    store._close()
    content = bytearray(store.path.read_bytes())
    if damage == "no store":
        content[:100] = bytes(100)
    else:
        content[16384:] = b"\xff" * (len(content) - 16384)
    store.path.write_bytes(content)
    again = NodeStore(folder, 10**9)
    assert again.get("007") == b""
    again.put("a", b"note")
    assert again.get("a") == b"note"
    assert not said


def test_note_that_does_not_hold_is_made_anew(video: Path) -> None:
    open_once(video)
    with closing(sqlite3.connect(node_store().path)) as database, database:
        database.execute("UPDATE notes SET note = substr(note, 1, 100)")
    index_cache.recent.clear()
    assert_exact(video)
    index_cache.recent.clear()
    assert_exact(video)


def test_store_is_bounded(folder: Path) -> None:
    store = NodeStore(folder, 10**6)
    for number in range(1000):
        store.put(str(number), bytes(3000))
    assert store.path.stat().st_size < 1.2e6
    assert store.get("999")
    assert store.get("900")
    assert not store.get("0")  # the oldest go first


def test_environment_says_that_nothing_is_kept(
    video: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOSCOPE_NODE_CACHE_GB", "0")
    assert_exact(video)
    assert not folder.parent.exists()


def test_folder_of_someone_else_is_not_used(
    video: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    folder.parent.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    for _ in range(3):
        index_cache.recent.clear()
        assert_exact(video)
    (sentence,) = said
    assert "indices.sqlite takes no indices of videos (it belongs to another user)" in sentence
    assert not folder.exists()


def test_store_of_a_parent_that_closes_before_its_child(folder: Path) -> None:
    """SQLite gives a child no locks of its own on a file that its parent had open."""
    store = NodeStore(folder, 10**9)
    store.put("first", b"note")
    go_on, ready = FORK.Event(), FORK.Event()

    def child() -> None:
        store.put("child 0", b"note")
        ready.set()
        go_on.wait(60)
        for number in range(500):
            store.put(f"child {number}", f"{number}".encode() * 900)

    process = FORK.Process(target=child)
    process.start()
    assert ready.wait(60)
    store.put("parent", b"note")
    store._close()
    other = NodeStore(folder, 10**9)
    go_on.set()
    for number in range(500):
        other.put(f"other {number}", f"{-number}".encode() * 900)
    process.join(60)
    assert process.exitcode == 0
    last = NodeStore(folder, 10**9)
    for number in range(500):
        assert last.get(f"child {number}") == f"{number}".encode() * 900
        assert last.get(f"other {number}") == f"{-number}".encode() * 900


def test_note_of_another_video_is_none(folder: Path) -> None:
    store = NodeStore(folder, 10**9)
    store.put("a", b"note of a")
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("UPDATE notes SET key = 'b'")
        database.execute("INSERT INTO notes VALUES ('c', 'no bytes, and \xff')")
    assert store.get("b") == b""
    assert store.get("c") == b""
    assert store.get("a") == b""


@pytest.mark.parametrize("fault", ["no temporary folder", "may not be entered"])
def test_store_that_cannot_be_is_no_fault_of_a_video(
    video: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str, said: list[str]
) -> None:
    def fail(*_: object) -> None:
        raise FileNotFoundError("no usable temporary directory")

    if fault == "no temporary folder":
        monkeypatch.setattr(store_module, "node_settings", fail)
    else:
        monkeypatch.setattr(store_module.shutil, "disk_usage", fail)
        monkeypatch.setattr(store_module, "make_private_folder", fail)
    assert_exact(video)
    index_cache.recent.clear()
    assert_exact(video)
    assert len(said) == int(fault == "may not be entered")


def test_full_disk_is_told_of_once(
    video: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    store = node_store()
    store.put("a", b"note")
    assert store._database is not None
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")  # what a full disk looks like
    for number in range(100):
        store.put(str(number), bytes(3000))
    (sentence,) = said
    assert "full" in sentence
    assert_exact(video)


def test_blocks_of_files_elsewhere_make_no_room_of_it(folder: Path) -> None:
    store = NodeStore(folder, 10**9)
    store.put("a", b"note")
    NodeCache(folder.parent, max_bytes=10).write("shard", 0, bytes(4096))
    assert store.get("a") == b"note"
