"""Addresses of a server that is slow, and of one that forked processes ask, too."""

import errno
import gc
import multiprocessing
from pathlib import Path

import pytest
from range_server import Ranges, serving

from datamodules.storage.elsewhere import addresses
from datamodules.storage.elsewhere.addresses import Address


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    (tmp_path / "file").write_bytes(bytes(range(256)))
    return bytes(range(256))


def test_silent_server_is_given_up(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "PATIENCE", 0.3)
    with serving(tmp_path) as address:
        file = Address(f"{address}/file")
        assert file.read(10, 5) == content[10:15]
        monkeypatch.setattr(Ranges, "delay", 1.0)
        with pytest.raises(OSError, match=r"no answer in 0.3 s") as raised:
            file.read(10, 5)
        assert raised.value.errno == errno.ETIMEDOUT
        monkeypatch.setattr(Ranges, "delay", 0.0)
        assert file.read(20, 5) == content[20:25]


def ask_in_a_child(url: str) -> None:
    assert Address(url).read(0, 3) == bytes(range(3))
    gc.collect()  # what the parent had open here is not closed


def test_children_leave_the_connections_of_their_parent_alone(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "PATIENCE", 5.0)
    monkeypatch.setattr(Ranges, "protocol_version", "HTTP/1.1")  # which keeps connections
    context = multiprocessing.get_context("fork")
    with serving(tmp_path) as address:
        file = Address(f"{address}/file")
        for _ in range(3):
            assert file.read(0, 9) == content[:9]
            child = context.Process(target=ask_in_a_child, args=(f"{address}/file",))
            child.start()
            child.join(30)
            assert child.exitcode == 0
        assert file.read(9, 9) == content[9:18]
