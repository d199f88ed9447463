"""A folder of optical flow: its videos, its manifest, and its unfinished parts.

    root/<path of the video>/...      a folder per video, see `storage.py`, there only if complete

Manifest and unfinished parts are those of every folder that a pass fills, `jobs/target_folder.py`.

The path of a video is that below the source, without the suffix of a video file.
"""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datamodules.errors import UserError
from datamodules.flow.extraction import FlowJob, FlowSettings
from datamodules.flow.methods import FlowMethod
from datamodules.jobs.target_folder import MANIFEST, check_apart, claim, read_manifest, videos_below
from datamodules.storage.source import Source
from datamodules.video.suffixes import is_video, stem_of

__all__ = [
    "claim_folder",
    "find_jobs",
    "read_flow_settings",
]

CONTENT, FORMAT, COMMAND = "optical flow", 1, "flow"
"""What the manifest calls it, the version of its form, and what makes it."""


def find_jobs(source: Source, target: Path) -> tuple[Source, list[FlowJob]]:
    """Find the videos of a source and the folders for their flow.

    Args:
        source: A folder of video files or frame folders at any depth, or a single one of these.
        target: Folder for the flow.

    Returns:
        The folder that the videos' paths are relative to, and the videos by name.

    Raises:
        UserError: If there is no video, one of the folders lies in the other, or the flow of two
            videos would get into each other's way.
    """
    check_apart(source, target, "flow")
    if is_video(source) and (folder := source.parent) is not None:
        return folder, [FlowJob(source.name, stem_of(source.name))]
    if not source.is_folder():
        raise UserError(f"{source} is no video; set the source to a video or a folder of videos")
    jobs = [FlowJob(path, stem_of(path)) for path in sorted(videos_below(source))]
    if not jobs:
        raise UserError(f"the folder {source} holds no video at any depth; check the source")
    _check_separate(jobs)
    return source, jobs


def _check_separate(jobs: Sequence[FlowJob]) -> None:
    """Refuse videos of one name, and a video named like a folder of others."""
    owners: dict[str, str] = {}
    for job in jobs:
        other = owners.setdefault(job.folder, job.video)
        if other != job.video:
            raise UserError(
                f"{other} and {job.video} would have their flow in one folder; rename one of them"
            )
    for job in jobs:
        for parent in Path(job.folder).parents:
            if str(parent) in owners:
                raise UserError(
                    f"the flow of {job.video} would lie among that of {owners[str(parent)]}; "
                    "rename one of them"
                )


def claim_folder(root: Path, settings: FlowSettings, method: FlowMethod) -> list[str]:
    """Take a new or empty folder for flow, or make sure that one is being continued; see `claim`.

    Args:
        root: The folder; made where it does not exist.
        settings: Settings by which flow is to be computed and stored.
        method: The method of these settings.

    Raises:
        UserError: If the folder holds something else, or flow made otherwise, or cannot be
            written.
    """
    wanted: dict[str, Any] = {
        "content": CONTENT,
        "format": FORMAT,
        "settings": asdict(settings),
        "parameters": dict(method.parameters),
        "versions": _versions(method),
    }
    return claim(root, wanted, COMMAND)


def read_flow_settings(root: Path) -> FlowSettings:
    """Read the settings by which the flow in a folder was computed and stored.

    Args:
        root: A folder that `kinetoscope flow` wrote.

    Raises:
        UserError: If the folder has no manifest of flow.
    """
    return FlowSettings(**read_manifest(root / MANIFEST, CONTENT, FORMAT, COMMAND)["settings"])


def _versions(method: FlowMethod) -> dict[str, str]:
    libraries = {name: version(name) for name in ("av", "numpy", "torchvision")}
    return {"python": platform.python_version(), **libraries, method.library: method.version}
