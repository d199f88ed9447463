"""A whole dataset transcoded: its videos under their names, its lists beside them."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datamodules.errors import UserError
from datamodules.jobs.dataset_jobs import Report
from datamodules.jobs.shared_pass import SharedPass
from datamodules.jobs.target_folder import (
    check_apart,
    claim,
    copy_lists,
    partial_folder,
    videos_below,
)
from datamodules.storage.elsewhere.remote_packs import open_dataset
from datamodules.storage.source import Place, Source
from datamodules.transcoding.settings import MANIFEST, TranscodeSettings
from datamodules.transcoding.work import (
    RECORDS,
    TranscodeJob,
    Transcoding,
    read_records,
    transcoded_name,
)

__all__ = ["check_separate", "manifest_of", "summary", "transcode_dataset"]

CONTENT, FORMAT, COMMAND = "transcoded videos", 1, "transcode"


def transcode_dataset(
    source: Place,
    target: Path,
    settings: TranscodeSettings,
    *,
    num_workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    say: Callable[[str], None],
) -> Report[TranscodeJob]:
    """Transcode every video of a folder that is not there yet, and take its lists over.

    Args:
        source: A folder of videos at any depth, packed or not.
        target: Folder for the new files, new or begun with the same settings.
        settings: Size and encoding.
        num_workers: Processes, each with one thread; 0 for this one.
        shard: Index and number of the runs that share the videos.
        say: Writes a line about what is there and what is done.

    Returns:
        The report of the pass.

    Raises:
        UserError: If that cannot be done; before anything is written.
        StorageError: If files cannot be written.
    """
    store = open_dataset(source)
    jobs = find_videos(store, target)
    changed = claim(target, manifest_of(settings), COMMAND, MANIFEST)
    if changed:
        say(f"other versions than {target} began with: {'; '.join(changed)}")
    # records of an earlier transcoding are not of this one
    lists = copy_lists(store, target, {MANIFEST, RECORDS})
    todo = SharedPass(jobs, shard, lambda job: (target / job.file).is_file(), say)
    say(f"{todo}; {len(lists)} lists")
    with partial_folder(target) as partial:
        work = Transcoding(store, target, partial, settings, 1 if num_workers else None)
        report = todo.run("transcoding", work, num_workers)
    say(summary(target))
    return report


def manifest_of(settings: TranscodeSettings) -> dict[str, Any]:
    """Describe what videos were made into, as `read_transcoding` reads it.

    Args:
        settings: Size and encoding.
    """
    return {
        "content": CONTENT,
        "format": FORMAT,
        "settings": asdict(settings),
        "parameters": {},
        "versions": {"python": platform.python_version(), "av": version("av")},
    }


def find_videos(source: Source, target: Path) -> list[TranscodeJob]:
    """Find the videos of a folder, and the files that are made of them.

    Args:
        source: The folder.
        target: Folder for the new files.

    Raises:
        UserError: If there is none, one of the folders lies in the other, or two videos would
            become one file, or a video is a folder of images.
    """
    check_apart(source, target, "new videos")
    if not source.is_folder():
        raise UserError(f"{source} is no folder; give the folder of the dataset's videos")
    videos = sorted(videos_below(source))
    if not videos:
        raise UserError(f"the folder {source} holds no video at any depth; check the source")
    folders = [video for video in videos if (source / video).is_folder()]
    if folders:
        raise UserError(
            f"{folders[0]} is a folder of images, which are found and decoded one by one as fast "
            "as they are; give a folder of video files"
        )
    jobs = [TranscodeJob(video, transcoded_name(video)) for video in videos]
    check_separate(jobs)
    return jobs


def check_separate(jobs: Sequence[TranscodeJob]) -> None:
    """Refuse two videos that would become one file.

    Args:
        jobs: The videos.

    Raises:
        UserError: If there are two.
    """
    owners: dict[str, str] = {}
    for job in jobs:
        other = owners.setdefault(job.file, job.video)
        if other != job.video:
            raise UserError(
                f"{other} and {job.video} would both become {job.file}; rename one of them"
            )


def summary(target: Path) -> str:
    """Say what became of the videos of a folder.

    Args:
        target: The folder.
    """
    records = read_records(target)
    if not records:
        return "no video was transcoded"
    before, after = (
        sum(getattr(record, name) for record in records) / 1e6
        for name in ("bytes_before", "bytes_after")
    )
    worst = min(records, key=lambda record: record.psnr)
    mean = sum(record.psnr for record in records) / len(records)
    return (
        f"{len(records)} videos: {before:,.1f} MB before, {after:,.1f} MB now; PSNR {mean:.1f} dB "
        f"on average, least {worst.psnr:.1f} ({worst.file})"
    )
