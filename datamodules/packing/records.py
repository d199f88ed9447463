"""Records of shards: what is known of each, written as it is done, until all are."""

import os
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from datamodules.storage.packed import SHARDS

__all__ = ["Record", "checksum_of", "read_record", "record_path", "write_record"]

BLOCK = 2**20
"""Bytes that are read at a time."""


class Record(NamedTuple):
    """A shard and the files in it.

    Attributes:
        size: Bytes of the shard.
        blocks: CRC-32 of each of its blocks.
        names: Paths of the files.
        starts: First byte of each in the shard.
        sizes: Bytes of each.
        checksums: CRC-32 of each.
        notes: What is noted of each.
    """

    size: int
    blocks: list[int]
    names: list[str]
    starts: list[int]
    sizes: list[int]
    checksums: list[int]
    notes: list[bytes]


def record_path(target: Path, number: int) -> Path:
    """Path of the record of a shard.

    Args:
        target: Folder of the dataset.
        number: Of the shard.
    """
    return target / SHARDS / f"{number:06d}.npz"


def write_record(record: Record, partial: Path, target: Path, number: int) -> None:
    """Write a record, whole or not at all.

    Args:
        record: The record.
        partial: Folder for what is not finished.
        target: Folder of the dataset.
        number: Of the shard.

    Raises:
        OSError: It cannot be written.
    """
    made, path = partial / f"{number:06d}.npz", record_path(target, number)
    names = [os.fsencode(name) for name in record.names]
    np.savez(
        made,
        size=record.size,
        blocks=np.array(record.blocks, np.uint32),
        names=np.frombuffer(b"".join(names), np.uint8),
        name_sizes=np.array([len(name) for name in names], np.int64),
        starts=np.array(record.starts, np.int64),
        sizes=np.array(record.sizes, np.int64),
        checksums=np.array(record.checksums, np.uint32),
        notes=np.frombuffer(b"".join(record.notes), np.uint8),
        note_sizes=np.array([len(note) for note in record.notes], np.int64),
    )
    path.parent.mkdir(exist_ok=True)
    os.replace(made, path)


def read_record(path: Path) -> Record:
    """Read a record.

    Args:
        path: See `record_path`.
    """
    with np.load(path) as found:
        starts, sizes = found["starts"].tolist(), found["sizes"].tolist()
        names = _parts(found["names"].tobytes(), found["name_sizes"].tolist())
        notes = _parts(found["notes"].tobytes(), found["note_sizes"].tolist())
        size, blocks = int(found["size"]), found["blocks"].tolist()
        paths = [os.fsdecode(name) for name in names]
        return Record(size, blocks, paths, starts, sizes, found["checksums"].tolist(), notes)


def _parts(joined: bytes, sizes: list[int]) -> list[bytes]:
    ends = np.cumsum(sizes, dtype=np.int64).tolist()
    return [joined[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def checksum_of(file: BinaryIO, start: int, size: int) -> int:
    """Compute the CRC-32 of a part of a file.

    Args:
        file: The file.
        start: First byte of the part.
        size: Bytes.
    """
    file.seek(start)
    checksum = 0
    while size > 0 and (content := file.read(min(BLOCK, size))):
        checksum = zlib.crc32(content, checksum)
        size -= len(content)
    return checksum
