"""Files of weights, of `torch.save` or safetensors: read verified, and nothing in them is executed.

`torch.load` checks no checksum, so that flipped bits would become weights. Here every member of the
archive is held against its own before anything is loaded. Whether a file is damaged, the file alone
decides; a disk that fails while it is read tells nothing about it.
"""

import errno
import hashlib
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

DESCRIPTION = "kinetoscope"
"""Key of a safetensors file's metadata: all that a checkpoint holds beside its weights, as JSON."""

SAFETENSORS = ".safetensors"
"""Suffix of files of safetensors."""

_ZIP_START = b"PK\x03\x04"
_DAMAGED_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,  # a place before the start of the file
    LookupError,
    NotImplementedError,
    OverflowError,
    ValueError,
)
"""Exceptions of `zipfile` on archives with wrong or missing bytes."""

_UNSAFE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    struct.error,
)
"""Exceptions of `torch.load` on what is no pickle of plain values and tensors."""


class DamagedFileError(ValueError):
    """A file that does not hold what was written to it, as the file itself proves."""


class _NotedFile(io.FileIO):
    """A file that remembers what the disk said: libraries tell it as damage of the file."""

    fault: OSError | None = None

    def readinto(self, buffer: Any, /) -> int:
        with self._noting():
            return super().readinto(buffer)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with self._noting():
            return super().seek(offset, whence)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno != errno.EINVAL:  # a place before the start: what the file says
                self.fault = error
            raise


def read_weights_file(path: str | Path) -> Any:
    """Read a file of weights or a checkpoint, on the CPU; nothing in it is executed.

    Args:
        path: A local file, as `torch.save` writes it; with the suffix `.safetensors` one of those.

    Raises:
        DamagedFileError: The file is damaged.
        ValueError: The path is an address, is missing, or is no such file.
        OSError: The disk failed; the file may be good. So it may where memory does not suffice, a
            `MemoryError`, or a `RuntimeError` of torch.
    """
    if "://" in str(path):
        raise ValueError(f"{path} is an address; download the file and give the local path")
    if Path(path).suffix == SAFETENSORS:
        return _load_safetensors(Path(path))
    try:
        noted = _NotedFile(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"there is no file {path} to take weights from; check the path") from error
    with io.BufferedReader(noted, 2**20) as file:
        try:
            return _load_archive(file, path) if _is_archive(file) else _load_pickle(file, path)
        except Exception as error:
            if noted.fault is not None:
                raise noted.fault from error
            raise


def _is_archive(file: BinaryIO) -> bool:
    start = file.read(len(_ZIP_START))
    file.seek(0)
    return start == _ZIP_START


def _load_archive(file: BinaryIO, path: str | Path) -> Any:
    _verify(file, path)
    file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except _UNSAFE as error:
        raise _unsafe(path, error) from error
    except RuntimeError as error:
        if "PytorchStreamReader failed" in str(error):  # its directory, not its members
            raise _damaged(path, str(error)) from error
        raise


def _verify(file: BinaryIO, path: str | Path) -> None:
    """Hold each member of an archive against its checksum.

    Raises:
        DamagedFileError: One differs, or the directory of the archive is damaged.
        ValueError: It is no archive of `torch.save`, or was saved without checksums.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            bad = next((m.filename for m in members if not _is_plain(m)), None) or archive.testzip()
    except _DAMAGED_ZIP as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    if not any(member.CRC for member in members):
        raise ValueError(
            f"{path} was saved without checksums, so that nobody knows whether it is whole; save "
            "it again after torch.serialization.set_crc32_options(True)"
        )
    if bad is not None:
        raise _damaged(path, f"{bad} is not what was written")
    names = {member.filename.rpartition("/")[2] for member in members}
    if "data.pkl" not in names or "constants.pkl" in names:
        raise ValueError(
            f"{path} is not a checkpoint or weights file but another kind of archive; save it with "
            "torch.save(network.state_dict(), path)"
        )


def _is_plain(member: zipfile.ZipInfo) -> bool:
    """Return True for a file that zipfile reads as torch does.

    Neither encrypted nor compressed in another way than zip's, nor marked as a folder, which torch
    takes for empty.
    """
    known = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return known and not member.flag_bits & 0x01 and not member.external_attr & 0x10


def _load_pickle(file: BinaryIO, path: str | Path) -> Any:
    """Load the older form of `torch.save`, which has no checksums."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (*_UNSAFE, RuntimeError, OSError) as error:
        raise DamagedFileError(str(_unsafe(path, error))) from error


def digest_of_tensors(weights: Mapping[str, Tensor]) -> str:
    """Digest weights, with names, types and shapes, in 16 hexadecimal digits."""
    hashed = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        hashed.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        hashed.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()[:16]


def safetensors_library() -> Any:
    """Import safetensors.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import safetensors.torch
    except ImportError as error:
        raise ValueError(
            "files of safetensors need the package safetensors, which is not installed; run "
            "`uv sync --extra export`, or `pip install 'kinetoscope[export]'`"
        ) from error
    return safetensors


def _load_safetensors(path: Path) -> Any:
    """Load a file that has no checksum; one of ours is held against the digest that it names."""
    library = safetensors_library()
    if not path.is_file():
        raise ValueError(f"there is no file {path} to take weights from; check the path")
    try:
        with library.safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = json.loads((file.metadata() or {}).get(DESCRIPTION, "null"))
    except (library.SafetensorError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(about, dict):
        return weights
    if about.pop("digest", None) != digest_of_tensors(weights):
        raise _damaged(path, "its weights are not what was written")
    return {**about, "state_dict": weights}


def _damaged(path: str | Path, why: str) -> DamagedFileError:
    return DamagedFileError(f"{path} is damaged ({why}); copy it again, or take another file")


def _unsafe(path: str | Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} is not a checkpoint or weights file that can be opened safely "
        f"({type(error).__name__}); copy it again, or save it with "
        "torch.save(network.state_dict(), path)"
    )
