"""One shard of a packed dataset: members in, a tar with its own index out, checked."""

import json
import os
import shutil
import tarfile
import uuid
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from datamodules.atomic import append_line
from datamodules.jobs.dataset_jobs import Step
from datamodules.packing.noting import note_of
from datamodules.packing.records import Record, checksum_of, write_record
from datamodules.storage.elsewhere.blocks import block_checksums
from datamodules.storage.local import LocalPath
from datamodules.storage.members import ArchiveMember
from datamodules.storage.packed import SHARDS
from datamodules.transcoding.settings import TranscodeSettings
from datamodules.transcoding.work import RECORDS, TranscodeJob, Transcoding, transcoded_name
from datamodules.video.errors import VideoError
from datamodules.video.suffixes import has_video_suffix

__all__ = ["NOT_TRANSCODED", "Packing", "ShardJob", "plan_shards"]

NOT_TRANSCODED = "not_transcoded.jsonl"
"""List of the videos that could not be encoded once more, and are packed as they were."""


def shard_name(number: int) -> str:
    """Name a shard, as WebDataset does."""
    return f"shard-{number:06d}.tar"


@dataclass(frozen=True)
class ShardJob:
    """A shard and what goes into it.

    Attributes:
        number: Number of the shard.
        files: Paths of its members, relative to the source.
    """

    number: int
    files: tuple[str, ...]

    def __str__(self) -> str:
        return shard_name(self.number)


def plan_shards(files: Sequence[tuple[str, int]], shard_bytes: int) -> list[ShardJob]:
    """Divide files among shards, in their order.

    Args:
        files: Path and bytes of each, sorted by path.
        shard_bytes: Bytes from which a shard is full.
    """
    jobs: list[ShardJob] = []
    held: list[str] = []
    weight = 0
    for path, size in files:
        if held and weight + size > shard_bytes:
            jobs.append(ShardJob(len(jobs), tuple(held)))
            held, weight = [], 0
        held.append(path)
        weight += size
    if held:
        jobs.append(ShardJob(len(jobs), tuple(held)))
    return jobs


@dataclass(frozen=True)
class Packing:
    """Writes a shard of a dataset, a step for each member; whole and checked or not at all.

    Attributes:
        source: Folder of the dataset.
        target: Folder of the packed one.
        partial: Folder for what is not finished.
        settings: Size and encoding of videos that are encoded once more on the way; None for none.
    """

    source: Path
    target: Path
    partial: Path
    settings: TranscodeSettings | None = None

    def __call__(self, job: ShardJob) -> Generator[Step, None, None]:
        """Write one shard.

        Raises:
            VideoError: A member cannot be read, or is another file when it is read again.
        """
        made = self.partial / str(job)
        checksums = yield from self._write(job, made)
        starts, sizes = self._check(made, checksums)
        names = list(checksums)
        notes = [note_of(ArchiveMember(LocalPath(made), name)) for name in names]
        size, blocks = made.stat().st_size, block_checksums(made)
        record = Record(size, blocks, names, starts, sizes, list(checksums.values()), notes)
        write_record(record, self.partial, self.target, job.number)
        os.replace(made, self.target / SHARDS / str(job))  # last: what is there has its record

    def _write(self, job: ShardJob, made: Path) -> Generator[Step, None, dict[str, int]]:
        """Put the members into a tar; returns the checksum of each by its name, as it was read."""
        checksums = {}
        with tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as archive:
            for count, file_name in enumerate(job.files, 1):
                with self._content(file_name) as (name, path):
                    with _reading(path):
                        opened = path.open("rb")
                    with opened as file:
                        reading = _Checked(path, file)
                        archive.addfile(_entry(name, os.fstat(file.fileno())), reading)
                checksums[name] = reading.checksum
                yield Step(0, count / len(job.files))
        with made.open("rb") as written:
            os.fsync(written.fileno())
        return checksums

    @contextmanager
    def _content(self, name: str) -> Iterator[tuple[str, Path]]:
        """Give the name of the member that is made of a file, and where its content lies."""
        if self.settings is None or not has_video_suffix(name):
            yield name, self.source / name
            return
        staging = self.partial / uuid.uuid4().hex
        try:
            yield self._transcoded(name, staging, self.settings)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _transcoded(
        self, name: str, staging: Path, settings: TranscodeSettings
    ) -> tuple[str, Path]:
        """Encode a video once more; give its new name and file, or its own where that cannot be."""
        job = TranscodeJob(name, transcoded_name(name))
        work = Transcoding(LocalPath(self.source), staging, self.partial, settings, 1)
        try:
            deque(work(job), maxlen=0)
        except VideoError as error:
            if error.reason in ("unreadable", "missing"):  # of the disk: to be done once more
                raise
            line = json.dumps({"video": name, "reason": error.reason})
            append_line(self.target / NOT_TRANSCODED, line.encode())
            return name, self.source / name
        append_line(self.target / RECORDS, (staging / RECORDS).read_bytes().rstrip())
        return job.file, staging / job.file

    def _check(self, made: Path, checksums: Mapping[str, int]) -> tuple[list[int], list[int]]:
        """Read a shard back, and compare each member with what was read from the source.

        Returns:
            The first byte of each member, and its number of bytes.
        """
        starts, sizes = [], []
        with made.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            entries = list(archive)
            for entry, (name, checksum) in zip(entries, checksums.items(), strict=True):
                starts.append(entry.offset_data)
                sizes.append(entry.size)
                found = checksum_of(file, entry.offset_data, entry.size)
                if (entry.name, found) != (name, checksum):
                    detail = f"{name}: its copy in {made.name} differs; check the disk"
                    raise VideoError(self.source / name, "damaged", detail)
        return starts, sizes


def _entry(name: str, state: os.stat_result) -> tarfile.TarInfo:
    """Describe a member: its name, size and time; nothing of who packed it."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = state.st_size, int(state.st_mtime), 0o644
    return entry


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise VideoError(path, "unreadable", f"{path}: {reason}") from error


class _Checked:
    """A file that is read once, with the checksum of what was read.

    Its faults are the video's; those of writing what was read are the disk's, and other errors.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self.checksum = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read on.

        Raises:
            VideoError: The file cannot be read, or became shorter.
        """
        with _reading(self._path):
            content = self._file.read(size)
        if len(content) < size:
            detail = f"{self._path} became shorter while it was read"
            raise VideoError(self._path, "truncated", detail)
        self.checksum = zlib.crc32(content, self.checksum)
        return content
