"""Datasets in shards: written, or indexed as they are."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datamodules.atomic import locked, write_atomically
from datamodules.errors import UserError
from datamodules.jobs.dataset_jobs import Report
from datamodules.jobs.shared_pass import SharedPass
from datamodules.jobs.target_folder import (
    PARTIAL,
    check_apart,
    claim,
    copy_lists,
    partial_folder,
    videos_below,
)
from datamodules.packing.existing import (
    ArchiveJob,
    Indexing,
    find_archives,
    unique_names,
    write_lists,
)
from datamodules.packing.index import write_index
from datamodules.packing.records import read_record, record_path
from datamodules.packing.shards import (
    NOT_TRANSCODED,
    Packing,
    ShardJob,
    plan_shards,
)
from datamodules.storage.local import LocalPath
from datamodules.storage.packed import INDEX, MANIFEST, ORIGIN, SHARDS
from datamodules.transcoding.dataset import check_separate, manifest_of, summary
from datamodules.transcoding.settings import MANIFEST as TRANSCODED
from datamodules.transcoding.settings import TranscodeSettings
from datamodules.transcoding.work import TranscodeJob, transcoded_name
from datamodules.video.suffixes import has_video_suffix

__all__ = ["SHARD_BYTES", "index_archives", "pack_dataset"]

CONTENT, FORMAT, COMMAND = "packed videos", 3, "pack"
SHARD_BYTES = 10**9
"""Bytes of a shard by default: large enough for any file system, small enough to move about."""


def pack_dataset(
    source: Path,
    target: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    transcoding: TranscodeSettings | None = None,
    num_workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    say: Callable[[str], None],
) -> Report[ShardJob]:
    """Write the shards of a dataset that are not there yet, and its index once all are.

    Args:
        source: Folder of the dataset: video files and frame folders at any depth, and lists.
        target: Folder for the packed one, new or begun with the same files and settings.
        shard_bytes: Bytes of the source's files from which a shard is full.
        transcoding: Size and encoding of videos that are encoded once more; None for none. What
            cannot be is packed as it is, and listed in `not_transcoded.jsonl`.
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
    if (source / MANIFEST).is_file():
        raise UserError(f"{source} is packed already; give the folder that it was made of")
    check_apart(LocalPath(source), target, "shards")
    files = list_files(source)
    jobs = plan_shards(files, shard_bytes)
    settings: dict[str, Any] = {"shard_bytes": shard_bytes}
    if transcoding is not None:
        videos = [name for name, _ in files if has_video_suffix(name)]
        check_separate([TranscodeJob(name, transcoded_name(name)) for name in videos])
        settings["transcoding"] = asdict(transcoding)
    claim(target, _manifest(settings, f"{len(files)} files, {_digest(files)}"), COMMAND, MANIFEST)
    lists = copy_lists(LocalPath(source), target, ())
    if transcoding is not None:
        write_atomically(target / TRANSCODED, json.dumps(manifest_of(transcoding)))
        lists.append(TRANSCODED)
    folder = target / SHARDS
    todo = SharedPass(jobs, shard, lambda job: (folder / str(job)).is_file(), say, "shards", True)
    say(f"{len(files)} files in {todo}; {len(lists)} lists")
    with partial_folder(target) as partial:
        work = Packing(source, target, partial, transcoding)
        report = todo.run("packing", work, num_workers)
    if transcoding is not None:
        say(summary(target))
        _tell_not_transcoded(target / NOT_TRANSCODED, say)
    if not report.failed and _is_whole(todo):
        with _finishing(target):
            if not (target / INDEX).is_dir():
                records = [read_record(record_path(target, job.number)) for job in jobs]
                write_index(target, [f"{SHARDS}/{job}" for job in jobs], records, lists)
            for job in jobs:
                record_path(target, job.number).unlink(missing_ok=True)
        say(f"{len(jobs)} shards are whole; give {target} as data.root")
    return report


def _tell_not_transcoded(path: Path, say: Callable[[str], None]) -> None:
    if path.is_file():
        count = len({json.loads(line)["video"] for line in path.read_text().splitlines()})
        say(f"{count} videos could not be transcoded and are packed as they are: {path}")


def index_archives(
    source: Path,
    target: Path,
    *,
    num_workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    say: Callable[[str], None],
) -> Report[ArchiveJob]:
    """Write the index of archives that are there already, which stay as they are.

    Args:
        source: Folder of tar and zip files.
        target: Folder for the index, new or begun with the same archives.
        num_workers: Processes; 0 for this one.
        shard: Index and number of the runs that share the archives.
        say: Writes a line about what is there and what is done.

    Returns:
        The report of the pass.

    Raises:
        UserError: If that cannot be done; before anything is written.
        StorageError: If files cannot be written.
    """
    check_apart(LocalPath(source), target, "the index")
    jobs = find_archives(source)
    if not jobs:
        raise UserError(f"the folder {source} holds no tar or zip at any depth; check the source")
    sizes = [(job.path, (source / job.path).stat().st_size) for job in jobs]
    claim(target, _manifest({}, f"{len(jobs)} archives, {_digest(sizes)}"), COMMAND, MANIFEST)
    is_whole = (target / INDEX).is_dir()
    todo = SharedPass(
        jobs,
        shard,
        lambda job: is_whole or record_path(target, job.number).is_file(),
        say,
        "archives",
        True,
    )
    say(str(todo))
    with partial_folder(target) as partial:
        report = todo.run("indexing", Indexing(source, target, partial), num_workers)
    if not is_whole and not report.failed and _is_whole(todo):
        with _finishing(target):
            if not (target / INDEX).is_dir():
                _index(source, target, jobs)
    if (target / INDEX).is_dir():
        shutil.rmtree(target / SHARDS, ignore_errors=True)
        say(f"{len(jobs)} archives are indexed; give {target} as data.root")
    return report


def _index(source: Path, target: Path, jobs: Sequence[ArchiveJob]) -> None:
    """Write the index of archives, each of which has its record, and their lists."""
    records = unique_names(jobs, [read_record(record_path(target, job.number)) for job in jobs])
    lists = copy_lists(LocalPath(source), target, ())
    lists += write_lists(source, jobs, records, target)
    write_atomically(target / ORIGIN, str(source.resolve()))
    write_index(target, [job.path for job in jobs], records, lists)


def _finishing(target: Path) -> AbstractContextManager[bool]:
    """Let runs that end together write the index and take the records away one by one."""
    return locked(target / PARTIAL / "index", wait=True)


def _is_whole(todo: SharedPass[Any]) -> bool:
    """Check that all shards are done, those of other runs too; say so where they are not."""
    if left := todo.left():
        todo.say(f"{left} {todo.noun} are left for other runs; the last one writes the index")
    return not left


def _manifest(settings: dict[str, Any], files: str) -> dict[str, Any]:
    return {
        "content": CONTENT,
        "format": FORMAT,
        "settings": settings,
        "parameters": {"files": files},
        "versions": {"python": platform.python_version(), "kinetoscope": version("kinetoscope")},
    }


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
    for video in videos_below(LocalPath(source)):
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
