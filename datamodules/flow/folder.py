"""A folder of optical flow: its videos, its manifest, and its unfinished parts.

    root/manifest.json                settings, parameters of the method, versions
    root/<path of the video>/...      a folder per video, see `storage.py`, there only if complete
    root/.partial/<run>/              what a run has not finished; removed when its run is over

The path of a video is that below the source, without the suffix of a video file.
"""

import json
import os
import platform
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datamodules.atomic import locked, write_atomically
from datamodules.errors import UserError
from datamodules.flow.extraction import FlowJob, FlowSettings
from datamodules.flow.methods import FlowMethod
from datamodules.flow.storage import is_stored
from datamodules.video.suffixes import VIDEO_SUFFIXES, is_video, stem_of

__all__ = [
    "claim_folder",
    "find_jobs",
    "missing_jobs",
    "partial_folder",
    "read_flow_settings",
]

FORMAT = 1
MANIFEST = "manifest.json"
PARTIAL = ".partial"


def find_jobs(source: Path, target: Path) -> tuple[Path, list[FlowJob]]:
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
    if not source.exists():
        raise UserError(f"there is nothing at {source}; set the source to a folder of videos")
    inner, outer = sorted((source.resolve(), target.resolve()), key=lambda p: -len(p.parts))
    if inner.is_relative_to(outer):
        raise UserError(
            f"of {source} and {target} one lies in the other, so flow would be taken for videos; "
            "give a target outside of the source"
        )
    if is_video(source):
        return source.parent, [FlowJob(source.name, stem_of(source.name))]
    if not source.is_dir():
        raise UserError(f"{source} is no video; set the source to a video or a folder of videos")
    jobs = [FlowJob(path, stem_of(path)) for path in sorted(_videos_below(source, ""))]
    if not jobs:
        raise UserError(f"the folder {source} holds no video at any depth; check the source")
    _check_separate(jobs)
    return source, jobs


def _videos_below(root: Path, folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Find video files and frame folders at any depth, without hidden ones."""
    real = os.path.realpath(root / folder)
    if real in above:  # a link to a folder that it lies in
        return
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder + entry.name
            if not entry.is_dir():
                if os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES:
                    yield path
            elif is_video(Path(entry.path)):
                yield path
            else:
                yield from _videos_below(root, f"{path}/", (*above, real))


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


def missing_jobs(root: Path, jobs: Sequence[FlowJob], settings: FlowSettings) -> list[FlowJob]:
    """Select the videos whose flow is not there or not complete.

    Args:
        root: Folder of the flow.
        jobs: The videos.
        settings: Settings of the flow in the folder.
    """
    return [job for job in jobs if not is_stored(root / job.folder, settings.storage)]


def claim_folder(root: Path, settings: FlowSettings, method: FlowMethod) -> list[str]:
    """Take a new or empty folder for flow, or make sure that one is being continued.

    Args:
        root: The folder; made where it does not exist.
        settings: Settings by which flow is to be computed and stored.
        method: The method of these settings.

    Returns:
        Versions that differ from those the folder was begun with, as sentences' parts.

    Raises:
        UserError: If the folder holds something else, or flow made otherwise, or cannot be
            written.
    """
    wanted: dict[str, Any] = {
        "content": "optical flow",
        "format": FORMAT,
        "settings": asdict(settings),
        "parameters": dict(method.parameters),
        "versions": _versions(method),
    }
    manifest = root / MANIFEST
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not manifest.exists():
            _check_empty(root)
            write_atomically(manifest, json.dumps(wanted, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{root} cannot be used for flow ({error}); give another target") from error
    found = _read_manifest(manifest)
    _check_same(root, found, wanted)
    return [
        f"{name} {found['versions'].get(name)} there and {here} here"
        for name, here in wanted["versions"].items()
        if found["versions"].get(name) != here
    ]


def read_flow_settings(root: Path) -> FlowSettings:
    """Read the settings by which the flow in a folder was computed and stored.

    Args:
        root: A folder that `kinetoscope flow` wrote.

    Raises:
        UserError: If the folder has no manifest of flow.
    """
    return FlowSettings(**_read_manifest(root / MANIFEST)["settings"])


def _versions(method: FlowMethod) -> dict[str, str]:
    libraries = {name: version(name) for name in ("av", "numpy", "torchvision")}
    return {"python": platform.python_version(), **libraries, method.library: method.version}


def _check_empty(root: Path) -> None:
    if any(not path.name.startswith(".") for path in root.iterdir()):
        raise UserError(
            f"{root} is not empty and holds no manifest of optical flow; give a new or empty "
            "folder as target"
        )


def _read_manifest(manifest: Path) -> dict[str, Any]:
    try:
        content = json.loads(manifest.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{manifest} cannot be read ({error}); give a folder of `kinetoscope flow`"
        ) from error
    if not isinstance(content, dict) or content.get("content") != "optical flow":
        raise UserError(
            f"{manifest} is no manifest of optical flow; give a new or empty folder as target"
        )
    if content.get("format") != FORMAT:
        raise UserError(
            f"{manifest} is of format {content.get('format')}, this version reads {FORMAT}; give "
            "a new folder as target"
        )
    return content


def _check_same(root: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse to continue with other settings or parameters, by name."""
    held = {**found["parameters"], **found["settings"]}
    asked = {**wanted["parameters"], **wanted["settings"]}
    differing = [name for name in {**asked, **held} if held.get(name) != asked.get(name)]
    if differing:
        there = ", ".join(f"{name}={held.get(name)}" for name in differing)
        here = ", ".join(f"{name}={asked.get(name)}" for name in differing)
        raise UserError(
            f"{root} holds optical flow with {there} where {here} was asked; give another target, "
            "delete that folder, or ask for what it holds"
        )


@contextmanager
def partial_folder(root: Path) -> Iterator[Path]:
    """Make a run's own folder for unfinished flow, and remove those of runs that were killed.

    A run holds a lock in its folder, which the system lets go of however the run ends. Where the
    file system knows no locks, nobody can tell who is still at work, and leftovers stay.

    Args:
        root: Folder of the flow.
    """
    partial = root / PARTIAL
    partial.mkdir(exist_ok=True)
    with ExitStack() as held:
        with locked(partial / "lock", wait=True) as knows_locks:
            if knows_locks:
                _remove_leftovers(partial)
            own = partial / uuid.uuid4().hex
            own.mkdir()
            held.callback(shutil.rmtree, own, ignore_errors=True)
            held.enter_context(locked(own / "lock", wait=False))
        yield own


def _remove_leftovers(partial: Path) -> None:
    for folder in [path for path in partial.iterdir() if path.is_dir()]:
        with locked(folder / "lock", wait=False) as is_over:
            if is_over:
                shutil.rmtree(folder)
