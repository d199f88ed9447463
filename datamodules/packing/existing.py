"""An index of archives that are there already: webdataset's tars, zip files."""

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from datamodules.atomic import write_atomically
from datamodules.jobs.dataset_jobs import Step
from datamodules.packing.noting import note_of
from datamodules.packing.records import Record, checksum_of, write_record
from datamodules.storage.archives import ZIP_HEADER, Member, header_length, read_contents
from datamodules.storage.elsewhere.blocks import block_checksums
from datamodules.storage.local import LocalPath
from datamodules.storage.members import ArchiveMember
from datamodules.video.errors import VideoError, as_unreadable
from datamodules.video.suffixes import has_video_suffix, stem_of

__all__ = ["ArchiveJob", "Indexing", "find_archives", "unique_names", "write_lists"]

LABEL = ".cls"
"""Suffix of the file beside a video in which webdataset keeps its label."""


@dataclass(frozen=True)
class ArchiveJob:
    """An archive to index.

    Attributes:
        number: Its number.
        path: Its path, relative to the source.
    """

    number: int
    path: str

    def __str__(self) -> str:
        return self.path


def find_archives(source: Path) -> list[ArchiveJob]:
    """List the tar and zip files below a folder, sorted by path.

    Args:
        source: The folder.
    """
    paths = sorted(
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.suffix.lower() in (".tar", ".zip")
        and path.is_file()
        and not path.name.startswith(".")
    )
    return [ArchiveJob(number, path) for number, path in enumerate(paths)]


@dataclass(frozen=True)
class Indexing:
    """Reads an archive from start to end, a step for each file in it, and records them.

    Attributes:
        source: Folder of the archives.
        target: Folder of the index.
        partial: Folder for what is not finished.
    """

    source: Path
    target: Path
    partial: Path

    def __call__(self, job: ArchiveJob) -> Generator[Step, None, None]:
        """Index one archive.

        Raises:
            VideoError: It is no archive, is damaged, or its videos are compressed once more.
        """
        path = self.source / job.path
        starts, sizes, checksums, notes = [], [], [], []
        with as_unreadable(path), path.open("rb") as archive:
            files = sorted(_stored_files(path, archive).items())
            for count, (name, member) in enumerate(files, 1):
                start = _content_start(archive, member)
                starts.append(start)
                sizes.append(member.size)
                checksums.append(checksum_of(archive, start, member.size))
                if member.crc not in (None, checksums[-1]):
                    raise VideoError(path, "damaged", f"the checksum of {name} in it differs")
                notes.append(note_of(ArchiveMember(LocalPath(path), name)))
                yield Step(0, count / len(files))
            size, blocks = path.stat().st_size, block_checksums(path)
        names = [name for name, _ in files]
        record = Record(size, blocks, names, starts, sizes, checksums, notes)
        write_record(record, self.partial, self.target, job.number)


def _stored_files(path: Path, archive: BinaryIO) -> dict[str, Member]:
    """List the files of an archive that can be read in place."""
    files = read_contents(archive).files
    deflated = [name for name, member in files.items() if member.deflated]
    if videos := [name for name in deflated if has_video_suffix(name)]:
        detail = f"{len(videos)} of its videos are compressed once more, such as {videos[0]}"
        raise VideoError(path, "unreadable", f"{detail}; store them as they are (zip -0)")
    return {name: files[name] for name in files.keys() - set(deflated)}


def _content_start(archive: BinaryIO, member: Member) -> int:
    if member.crc is None:
        return member.start
    archive.seek(member.start)
    return member.start + header_length(archive.read(ZIP_HEADER))


def unique_names(jobs: Sequence[ArchiveJob], records: Sequence[Record]) -> list[Record]:
    """Put the archives' paths before the names of files where two archives hold the same name.

    Args:
        jobs: The archives.
        records: Their records.
    """
    counts = Counter(name for record in records for name in record.names)
    if not counts or max(counts.values()) == 1:
        return list(records)
    stems = [PurePosixPath(job.path).with_suffix("").as_posix() for job in jobs]
    return [
        record._replace(names=[f"{stem}/{name}" for name in record.names])
        for stem, record in zip(stems, records, strict=True)
    ]


def write_lists(
    source: Path, jobs: Sequence[ArchiveJob], records: Sequence[Record], target: Path
) -> list[str]:
    """Write lists of videos and labels from what webdataset keeps beside each video.

    A list is of all archives of a folder, and named as it: of those in `train`, `train.txt`. One
    that is there already stays.

    Args:
        source: Folder of the archives.
        jobs: The archives.
        records: Their records, with names as the dataset has them.
        target: Folder of the dataset.

    Returns:
        Names of the lists; none where no file has a label beside it.

    Raises:
        OSError: One cannot be written.
    """
    lists: dict[str, list[str]] = {}
    for job, record in zip(jobs, records, strict=True):
        folder = PurePosixPath(job.path).parent.as_posix().replace("/", "_")
        lines = lists.setdefault(f"{'videos' if folder == '.' else folder}.txt", [])
        places = {name: place for place, name in enumerate(record.names)}
        with (source / job.path).open("rb") as archive:
            for name in record.names:
                label = places.get(f"{stem_of(name)}{LABEL}")
                if has_video_suffix(name) and label is not None:
                    archive.seek(record.starts[label])
                    content = archive.read(record.sizes[label])
                    lines.append(f"{name} {content.decode(errors='replace').strip()}\n")
    made = {name: lines for name, lines in lists.items() if lines and not (target / name).exists()}
    for name, lines in made.items():
        write_atomically(target / name, "".join(lines))
    return sorted(made)
