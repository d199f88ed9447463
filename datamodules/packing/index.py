"""The index of a packed dataset, written whole or not at all."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import StorageError
from datamodules.storage.elsewhere.blocks import block_checksums
from datamodules.storage.packed import ABOUT, ARRAYS, INDEX, NOTES

__all__ = ["Row", "Shard", "write_index"]


class Row(NamedTuple):
    """A file of a packed dataset; rows are sorted by name.

    Attributes:
        name: Path in the dataset, as the file system encodes it.
        shard: Number of its shard.
        start: First byte in it.
        size: Bytes.
        crc: CRC-32 of its content.
        note: What is noted of it.
    """

    name: bytes
    shard: int
    start: int
    size: int
    crc: int
    note: bytes


class Shard(NamedTuple):
    """A shard of a packed dataset.

    Attributes:
        path: Relative to the dataset.
        size: Bytes.
        blocks: CRC-32 of each of its blocks.
    """

    path: str
    size: int
    blocks: Sequence[int]


def write_index(
    target: Path, rows: Sequence[Row], shards: Sequence[Shard], lists: Sequence[str]
) -> None:
    """Write the index of a dataset; its files appear together.

    Args:
        target: Folder of the dataset.
        rows: Its files, sorted by name.
        shards: Its shards.
        lists: Paths of its lists, relative to the folder.

    Raises:
        StorageError: It cannot be written.
    """
    arrays = _arrays(rows)
    made = target / f".{INDEX}"
    try:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        notes = made / Path(NOTES).name
        notes.write_bytes(b"".join(row.note for row in rows))
        files = [*shards, Shard(NOTES, notes.stat().st_size, block_checksums(notes))]
        arrays["blocks"] = np.array([crc for file in files for crc in file.blocks], np.uint32)
        for name in ARRAYS:
            np.save(made / f"{name}.npy", arrays[name])
        about = {"files": [file[:2] for file in files], "lists": list(lists)}
        (made / ABOUT).write_text(json.dumps(about))
        os.replace(made, target / INDEX)
    except OSError as error:
        raise StorageError(
            f"the index of {target} cannot be written ({error}); make room, and start again"
        ) from error


def _arrays(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """Turn rows into the arrays of an index."""
    return {
        "names": np.frombuffer(b"".join(row.name for row in rows), np.uint8),
        "ends": np.cumsum([len(row.name) for row in rows], dtype=np.int64),
        "shard": np.array([row.shard for row in rows], np.int32),
        "start": np.array([row.start for row in rows], np.int64),
        "size": np.array([row.size for row in rows], np.int64),
        "crc": np.array([row.crc for row in rows], np.uint32),
        "note_ends": np.cumsum([len(row.note) for row in rows], dtype=np.int64),
    }
