"""A whole dataset packed: its videos in shards, its lists beside them, its index."""

import hashlib
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError
from datamodules.jobs.dataset_jobs import Report, follow_pass, process_videos, take_shard
from datamodules.jobs.target_folder import (
    check_apart,
    claim,
    copy_lists,
    partial_folder,
    videos_below,
)
from datamodules.packing.index import Row, Shard, write_index
from datamodules.packing.shards import Packing, ShardJob, plan_shards, shard_index
from datamodules.storage.packed import INDEX, MANIFEST, SHARDS

__all__ = ["SHARD_BYTES", "pack_dataset"]

CONTENT, FORMAT, COMMAND = "packed videos", 2, "pack"
SHARD_BYTES = 10**9
"""Bytes of a shard by default: large enough for any file system, small enough to move about."""


def pack_dataset(
    source: Path,
    target: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    num_workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    say: Callable[[str], None],
) -> Report[ShardJob]:
    """Write the shards of a dataset that are not there yet, and its index once all are.

    Args:
        source: Folder of the dataset: video files and frame folders at any depth, and lists.
        target: Folder for the packed one, new or begun with the same files and settings.
        shard_bytes: Bytes from which a shard is full.
        num_workers: Processes; 0 for this one.
        shard: Index and number of the runs that share the shards.
        say: Writes a line about what is there and what is done.

    Returns:
        The report of the pass.

    Raises:
        UserError: If that cannot be done; before anything is written.
        StorageError: If files cannot be written.
    """
    if shard_bytes < 1:
        raise UserError(f"shards of {shard_bytes} bytes are not possible; give at least 1")
    check_apart(source, target, "shards")
    files = list_files(source)
    jobs = plan_shards(files, shard_bytes)
    wanted: dict[str, Any] = {
        "content": CONTENT,
        "format": FORMAT,
        "settings": {"shard_bytes": shard_bytes},
        "parameters": {"files": f"{len(files)} files, {_digest(files)}"},
        "versions": {"python": platform.python_version(), "kinetoscope": version("kinetoscope")},
    }
    claim(target, wanted, COMMAND, MANIFEST)
    lists = copy_lists(source, target, {MANIFEST})
    shared = take_shard(jobs, *shard)
    missing = [job for job in shared if not (target / SHARDS / str(job)).is_file()]
    part = f", {len(shared)} for this run" if len(shared) < len(jobs) else ""
    there = len(shared) - len(missing)
    say(
        f"{len(files)} files in {len(jobs)} shards{part}, {there} there already, "
        f"{len(missing)} to do; {len(lists)} lists"
    )
    with partial_folder(target) as partial:
        work = Packing(source, target, partial)
        events = process_videos(work, missing, num_workers)
        report = follow_pass("packing", events, len(missing), noun="shards", say=say)
    if missing:
        say(str(report))
    if not report.failed:
        say(_finish(jobs, lists, target))
    return report


def list_files(source: Path) -> list[tuple[str, int]]:
    """List the files of all videos below a folder, with their bytes, sorted by path.

    Raises:
        UserError: If there is none.
    """
    if not source.is_dir():
        raise UserError(f"{source} is no folder; give the folder of the dataset's videos")
    files = sorted(_files_of(source), key=lambda file: os.fsencode(file[0]))
    if not files:
        raise UserError(f"the folder {source} holds no video at any depth; check the source")
    return files


def _files_of(source: Path) -> Iterator[tuple[str, int]]:
    for video in videos_below(source):
        path = source / video
        if not path.is_dir():
            yield video, path.stat().st_size
            continue
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_file() and not entry.name.startswith("."):
                    yield f"{video}/{entry.name}", entry.stat().st_size


def _digest(files: Sequence[tuple[str, int]]) -> str:
    """Name a list of files by its content."""
    text = "\n".join(f"{path} {size}" for path, size in files)
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]


def _finish(jobs: Sequence[ShardJob], lists: Sequence[str], target: Path) -> str:
    """Write the index of the dataset, if all of its shards are there; say what there is."""
    missing = [job for job in jobs if not (target / SHARDS / str(job)).is_file()]
    if missing:
        return f"{len(missing)} shards are left for other runs; the last one writes the index"
    if not (target / INDEX).is_dir():
        shards, rows = [], list[Row]()
        for job in jobs:
            with np.load(shard_index(target, job.number)) as noted:
                shards.append(_shard(job, target, noted))
                rows += _rows(job, noted)
        write_index(target, rows, shards, lists)
    for job in jobs:
        shard_index(target, job.number).unlink(missing_ok=True)
    return f"{len(jobs)} shards are whole; give {target} as data.root"


def _shard(job: ShardJob, target: Path, noted: Mapping[str, NDArray[Any]]) -> Shard:
    path = f"{SHARDS}/{job}"
    return Shard(path, (target / path).stat().st_size, noted["blocks"].tolist())


def _rows(job: ShardJob, noted: Mapping[str, NDArray[Any]]) -> Iterator[Row]:
    """Read what was noted of the files of a shard."""
    columns = (noted[name].tolist() for name in ("start", "size", "crc", "note_sizes"))
    notes, at = noted["notes"].tobytes(), 0
    for name, start, size, crc, length in zip(job.files, *columns, strict=True):
        yield Row(os.fsencode(name), job.number, start, size, crc, notes[at : at + length])
        at += length
