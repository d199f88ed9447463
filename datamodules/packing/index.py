"""The index of a packed dataset, written whole or not at all."""

import json
import os
import shutil
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import StorageError
from datamodules.packing.records import Record
from datamodules.storage.elsewhere.blocks import block_checksums
from datamodules.storage.elsewhere.node_cache import BLOCK
from datamodules.storage.packed import ABOUT, ARRAYS, INDEX, NOTES

__all__ = ["write_index"]


def write_index(
    target: Path, shards: Sequence[str], records: Sequence[Record], lists: Sequence[str]
) -> None:
    """Write the index of a dataset; its files appear together.

    Args:
        target: Folder of the dataset.
        shards: Paths of its shards, relative to where they lie.
        records: Their records.
        lists: Paths of its lists, relative to the folder.

    Raises:
        StorageError: It cannot be written.
    """
    arrays = _columns(records)
    made = target / f".{INDEX}"
    try:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        notes = made / Path(NOTES).name
        notes.write_bytes(arrays["notes"].tobytes())
        blocks = [record.blocks for record in records] + [block_checksums(notes)]
        arrays["blocks"] = np.array(list(chain.from_iterable(blocks)), np.uint32)
        sizes = [record.size for record in records] + [notes.stat().st_size]
        files = list(zip([*shards, NOTES], sizes, strict=True))
        for name in ARRAYS:
            np.save(made / f"{name}.npy", arrays[name])
        digest = zlib.crc32(arrays["blocks"].tobytes())  # copies elsewhere are made anew by it
        about = {"files": files, "lists": list(lists), "block_bytes": BLOCK, "digest": digest}
        (made / ABOUT).write_text(json.dumps(about))
        os.replace(made, target / INDEX)
    except OSError as error:
        raise StorageError(
            f"the index of {target} cannot be written ({error}); make room, and start again"
        ) from error


def _columns(records: Sequence[Record]) -> dict[str, NDArray[Any]]:
    """Join the files of all shards, sorted by name."""
    names = [os.fsencode(name) for record in records for name in record.names]
    notes = [note for record in records for note in record.notes]
    order = sorted(range(len(names)), key=names.__getitem__)
    shards = np.repeat(np.arange(len(records)), [len(record.names) for record in records])

    def column(values: Iterable[int], dtype: Any) -> NDArray[Any]:
        return np.fromiter(values, dtype)[order] if order else np.empty(0, dtype)

    return {
        "names": np.frombuffer(b"".join(names[place] for place in order), np.uint8),
        "ends": np.cumsum([len(names[place]) for place in order], dtype=np.int64),
        "shard": shards.astype(np.int32)[order],
        "start": column(chain.from_iterable(record.starts for record in records), np.int64),
        "size": column(chain.from_iterable(record.sizes for record in records), np.int64),
        "crc": column(chain.from_iterable(record.checksums for record in records), np.uint32),
        "note_ends": np.cumsum([len(notes[place]) for place in order], dtype=np.int64),
        "notes": np.frombuffer(b"".join(notes[place] for place in order), np.uint8),
    }
