"""A file of weights is read as it was written, or it is refused for what it proves itself."""

import errno
import io
import os
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from models import weights_file
from models.weights_file import DamagedFileError, read_weights_file

CONTENT = {"a": torch.arange(3.0), "step": 7}
ARCHIVE = io.BytesIO()
torch.save(CONTENT, ARCHIVE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "weights.pth").write_bytes(ARCHIVE.getvalue())
    return tmp_path / "weights.pth"


def is_whole(content: Any) -> bool:
    return content["step"] == 7 and torch.equal(content["a"], CONTENT["a"])  # type: ignore[arg-type]


def test_no_flipped_bit_is_loaded(path: Path) -> None:
    whole, refused = path.read_bytes(), 0
    directory = whole.index(b"PK\x01\x02")
    for place in [*range(0, directory, 9), *range(directory, len(whole), 2)]:
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        try:
            assert is_whole(read_weights_file(path)), place
        except DamagedFileError:
            refused += 1
    assert refused > 200  # the rest is padding, dates and the like


def test_flipped_bit_of_a_weight_names_the_member(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[whole.index(CONTENT["a"].numpy().tobytes()) + 5] ^= 4  # type: ignore[attr-defined]
    path.write_bytes(whole)
    torch.load(path, weights_only=True)
    with pytest.raises(DamagedFileError, match=r"damaged \(\w+/data/0 is not what was written\)"):
        read_weights_file(path)


def test_file_that_was_cut_off_is_damaged(path: Path) -> None:
    whole = path.read_bytes()
    for size in range(0, len(whole), 17):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedFileError):
            read_weights_file(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_older_form_is_read_or_refused(path: Path) -> None:
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)
    assert is_whole(read_weights_file(path))
    whole, random, refused = path.read_bytes(), Random(0), 0
    for _ in range(150):
        damaged = bytearray(whole[: random.choice([len(whole), random.randrange(1, len(whole))])])
        for _ in range(random.randrange(1, 9)):
            damaged[random.randrange(min(len(damaged), 900))] = random.randrange(256)
        path.write_bytes(damaged)
        try:
            read_weights_file(path)
        except ValueError as error:
            refused += "is not a checkpoint or weights file that can be opened" in str(error)
    assert refused > 100


def test_failing_disk_proves_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first read fails, or the second, and so on: at the directory, a member, the pickle."""
    left = failures = 0

    class FailingFile(weights_file._NotedFile):
        def readinto(self, buffer: Any, /) -> int:
            nonlocal left
            left -= 1
            if left < 0:
                with self._noting():
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(buffer)

    monkeypatch.setattr(weights_file, "_NotedFile", FailingFile)
    while failures < 100:
        left = failures
        try:
            assert is_whole(read_weights_file(path))
        except OSError:
            failures += 1
        else:
            break
    assert 5 < failures < 100


def test_disk_that_fails_at_once_is_told() -> None:
    with pytest.raises(OSError, match="Input/output error"):
        read_weights_file("/proc/self/mem")


@pytest.mark.parametrize("fault", [MemoryError("no memory"), RuntimeError("can't allocate memory")])
def test_lack_of_memory_proves_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(type(fault), match=str(fault)):
        read_weights_file(path)


def test_foreign_archives_are_no_damage(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("net/data.pkl", "net/constants.pkl"):  # as TorchScript writes it
            archive.writestr(name, "content")
    with pytest.raises(ValueError, match="another kind of archive") as caught:
        read_weights_file(path)
    assert not isinstance(caught.value, DamagedFileError)


def test_archive_without_checksums_is_refused(path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, path)
    finally:
        torch.serialization.set_crc32_options(True)
    with pytest.raises(ValueError, match=r"saved without checksums.*set_crc32_options\(True\)"):
        read_weights_file(path)


def test_what_would_be_executed_is_no_damage(path: Path) -> None:
    torch.save({"call": os.getpid}, path)
    with pytest.raises(ValueError, match=r"opened safely \(UnpicklingError\)") as caught:
        read_weights_file(path)
    assert not isinstance(caught.value, DamagedFileError)
