"""A folder that a pass over a dataset fills: manifest, unfinished parts, and the videos to do.

root/manifest.json      what is made, by which settings, with which versions
root/.partial/<run>/    what a run has not finished; removed when its run is over
"""

import json
import os
import shutil
import uuid
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from datamodules.atomic import locked, write_atomically
from datamodules.errors import UserError
from datamodules.storage import packed
from datamodules.storage.source import Source
from datamodules.video.suffixes import has_video_suffix, is_video

__all__ = [
    "MANIFEST",
    "PARTIAL",
    "check_apart",
    "claim",
    "copy_lists",
    "partial_folder",
    "read_manifest",
    "videos_below",
]

MANIFEST = "manifest.json"
LISTS = frozenset({".txt", ".csv", ".json", ".jsonl", ".list", ".yaml", ".yml"})
"""Suffixes of files of a dataset that are taken over as they are."""
PARTIAL = ".partial"
"""Folder in it for what is not finished."""


def check_apart(source: Source, target: Path, made: str) -> None:
    """Refuse folders of which one lies in the other.

    Args:
        source: What is read.
        target: What is written.
        made: What is made, in a word.

    Raises:
        UserError: If there is no source, or one lies in the other.
    """
    if not source.exists():
        raise UserError(f"there is nothing at {source}; set the source to a folder of videos")
    folder = _folder_of(source)
    if folder is None:
        return
    inner, outer = sorted((folder.resolve(), target.resolve()), key=lambda p: -len(p.parts))
    if inner.is_relative_to(outer):
        raise UserError(
            f"of {source} and {target} one lies in the other, so {made} would be taken for "
            "videos; give a target outside of the source"
        )


def _folder_of(source: Source) -> Path | None:
    """Find the folder of this machine that a dataset's lists lie in."""
    return source.root if isinstance(source, packed.PackedPath) else source.path


def videos_below(root: Source, folder: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
    """Find video files and frame folders at any depth, without hidden ones.

    Args:
        root: Folder that the paths are relative to.
        folder: Where to look in it, empty or ending in a slash.
        above: Folders that this one lies in.
    """
    place = root / folder if folder else root
    real = os.path.realpath(place.path) if place.path is not None else str(place)
    if real in above:  # a link to a folder that it lies in
        return
    for name, is_folder in place.entries():
        if name.startswith("."):
            continue
        path = folder + name
        if not is_folder:
            if has_video_suffix(name):
                yield path
        elif is_video(place / name):
            yield path
        else:
            yield from videos_below(root, f"{path}/", (*above, real))


def copy_lists(source: Source, target: Path, others: Container[str]) -> list[str]:
    """Copy the lists of a dataset that are not there yet, and name them all.

    Args:
        source: The dataset.
        target: Where they go, under their paths.
        others: Names of files that are no lists, beside those of a packed dataset.
    """
    folder = _folder_of(source)
    if folder is None:
        return []
    lists = [
        path.relative_to(folder)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in LISTS
        and path.is_file()
        and not path.name.startswith(".")
        and path.name not in others
        and path.relative_to(folder).as_posix() not in packed.OWN_FILES
    ]
    for path in lists:
        if not (target / path).exists():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / path, target / path)
    return [path.as_posix() for path in lists]


def claim(root: Path, wanted: Mapping[str, Any], command: str, name: str = MANIFEST) -> list[str]:
    """Take a new or empty folder, or make sure that what it holds is being continued.

    Args:
        root: The folder; made where it does not exist.
        wanted: Its manifest: `content`, `format`, `settings`, `parameters` and `versions`.
        command: The command that makes it.
        name: Name of the manifest.

    Returns:
        Versions that differ from those the folder was begun with, as sentences' parts.

    Raises:
        UserError: If the folder holds something else, or the same made otherwise, or cannot be
            written.
    """
    manifest, content = root / name, wanted["content"]
    try:
        root.mkdir(parents=True, exist_ok=True)
        there = os.listdir(root)  # once: another run may be taking it for the same at this moment
        if name not in there:
            _check_empty(root, there, content)
            write_atomically(manifest, json.dumps(wanted, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"{root} cannot be used for {content} ({error}); give another target"
        ) from error
    found = read_manifest(manifest, content, wanted["format"], command)
    _check_same(root, found, wanted)
    return [
        f"{name} {found['versions'].get(name)} there and {here} here"
        for name, here in wanted["versions"].items()
        if found["versions"].get(name) != here
    ]


def read_manifest(manifest: Path, content: str, form: int, command: str) -> dict[str, Any]:
    """Read the manifest of a folder.

    Args:
        manifest: The file.
        content: What it has to hold.
        form: The format of it that is read.
        command: The command that makes it.

    Raises:
        UserError: If it has no such manifest.
    """
    try:
        found = json.loads(manifest.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{manifest} cannot be read ({error}); give a folder of `kinetoscope {command}`"
        ) from error
    if not isinstance(found, dict) or found.get("content") != content:
        raise UserError(
            f"{manifest} is no manifest of {content}; give a new or empty folder as target"
        )
    if found.get("format") != form:
        raise UserError(
            f"{manifest} is of format {found.get('format')}, this version reads {form}; give a new "
            "folder as target"
        )
    return found


def _check_empty(root: Path, names: Sequence[str], content: str) -> None:
    if any(not name.startswith(".") for name in names):
        raise UserError(
            f"{root} is not empty and holds no manifest of {content}; give a new or empty folder "
            "as target"
        )


def _check_same(root: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to continue with other settings or parameters, by name."""
    held = {**found["parameters"], **found["settings"]}
    asked = {**wanted["parameters"], **wanted["settings"]}
    differing = [name for name in {**asked, **held} if held.get(name) != asked.get(name)]
    if differing:
        there = ", ".join(f"{name}={held.get(name)}" for name in differing)
        here = ", ".join(f"{name}={asked.get(name)}" for name in differing)
        raise UserError(
            f"{root} holds {wanted['content']} with {there} where {here} was asked; give another "
            "target, delete that folder, or ask for what it holds"
        )


@contextmanager
def partial_folder(root: Path) -> Iterator[Path]:
    """Make a run's own folder for what is unfinished, and remove those of runs that were killed.

    A run holds a lock in its folder, which the system lets go of however the run ends. Where the
    file system knows no locks, nobody can tell who is still at work, and leftovers stay.

    Args:
        root: The folder that is filled.
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
