"""Datasets elsewhere: their index and lists are copied, their shards are read in parts."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from datamodules.atomic import locked, write_atomically
from datamodules.errors import UserError
from datamodules.storage.base import Source
from datamodules.storage.elsewhere.addresses import Address, is_address
from datamodules.storage.packed import ABOUT, ARRAYS, INDEX, MANIFEST, ORIGIN, open_pack
from datamodules.storage.source import Place, as_source
from datamodules.storage.transient import retry

__all__ = ["cache_folder", "local_root", "open_dataset"]


def cache_folder() -> Path:
    """Return the folder of indices that cost a survey, and of those of datasets elsewhere."""
    if folder := os.environ.get("KINETOSCOPE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kinetoscope"


def local_root(root: str) -> Path:
    """Find the folder of a dataset's lists on this machine.

    Args:
        root: A folder, or the address of a packed dataset.

    Returns:
        The folder; of an address a copy of all but the shards, made anew where it has changed.

    Raises:
        UserError: If an address leads to no packed dataset.
    """
    if not is_address(root):
        return Path(root)
    address = Address(root.rstrip("/"))
    try:
        return _copied(address)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"there is no packed dataset at {address} ({error}); give the address of a copy of a "
            "folder of `kinetoscope pack`, and credentials in the environment where it needs some"
        ) from error


def open_dataset(place: Place) -> Source:
    """Open the folder of a dataset's videos, in which they lie under their paths.

    Args:
        place: A folder, packed or not, the address of a packed one, or a source.

    Raises:
        UserError: If a packed dataset cannot be read, or an address leads to none.
    """
    if isinstance(place, str) and is_address(place):
        return open_dataset(local_root(place))
    try:
        source = as_source(place)
        packed = None if source.path is None else open_pack(source.path)
    except OSError as error:
        raise UserError(f"the packed dataset {place} cannot be read: {error}") from error
    return source if packed is None else packed


def _copied(address: Address) -> Path:
    manifest, about = _read(address / MANIFEST), _read(address / INDEX / ABOUT)
    folder = cache_folder() / "packs" / hashlib.sha256(str(address).encode()).hexdigest()[:24]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock"), wait=True):
        if not (_holds(folder / MANIFEST, manifest) and _holds(folder / INDEX / ABOUT, about)):
            shutil.rmtree(folder, ignore_errors=True)
            _copy(address, folder, json.loads(about)["lists"])
            write_atomically(folder / INDEX / ABOUT, about)
            write_atomically(folder / MANIFEST, manifest)  # last: what has it is whole
    return folder


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _copy(address: Address, folder: Path, lists: Sequence[str]) -> None:
    """Copy the arrays of the index, and the lists of a dataset."""
    for name in [*(f"{INDEX}/{name}.npy" for name in ARRAYS), *lists]:
        target = folder / name
        if not target.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"its list {name} lies outside of it")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, _read(address / name))
    write_atomically(folder / ORIGIN, str(address))


def _read(source: Source) -> bytes:
    """Read a whole file, patiently."""

    def read() -> bytes:
        with source.open() as file:
            return file.read()

    return retry(read, str(source), partial(warnings.warn, stacklevel=2))
