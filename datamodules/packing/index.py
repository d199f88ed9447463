"""The index of a packed dataset, written whole or not at all."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.errors import StorageError
from datamodules.storage.packed import ABOUT, ARRAYS, INDEX

__all__ = ["Row", "write_index"]

TYPES = {"shard": np.int32, "crc": np.uint32}
"""Types of the columns that need no 64 bits."""


class Row(NamedTuple):
    """A file of a packed dataset; rows are sorted by name.

    Attributes:
        name: Path in the dataset, as the file system encodes it.
        shard: Number of its shard.
        start: First byte in it.
        size: Bytes.
        crc: CRC-32 of its content.
    """

    name: bytes
    shard: int
    start: int
    size: int
    crc: int


def write_index(
    target: Path, rows: Sequence[Row], shards: Sequence[str], lists: Sequence[str]
) -> None:
    """Write the index of a dataset; its files appear together.

    Args:
        target: Folder of the dataset.
        rows: Its files, sorted by name.
        shards: Paths of its shards, relative to the folder.
        lists: Paths of its lists, relative to the folder.

    Raises:
        StorageError: It cannot be written.
    """
    columns = np.array([row[1:] for row in rows], np.int64).reshape(-1, 4).T
    arrays = dict(zip(ARRAYS[2:], columns, strict=True))
    arrays["names"] = np.frombuffer(b"".join(row.name for row in rows), np.uint8)
    arrays["ends"] = np.cumsum([len(row.name) for row in rows], dtype=np.int64)
    made = target / f".{INDEX}"
    try:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        for name in ARRAYS:
            np.save(made / f"{name}.npy", arrays[name].astype(TYPES.get(name, arrays[name].dtype)))
        about = {"shards": list(shards), "lists": list(lists)}
        (made / ABOUT).write_text(json.dumps(about))
        os.replace(made, target / INDEX)
    except OSError as error:
        raise StorageError(
            f"the index of {target} cannot be written ({error}); make room, and start again"
        ) from error
