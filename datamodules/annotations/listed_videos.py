"""The lines of an annotation: videos, their classes, and their paths in the shortest form."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Seconds = NDArray[np.float32]


class ListedVideo(NamedTuple):
    """One line of an annotation.

    Attributes:
        path: The video's path relative to the root.
        label: The class as it is written.
        video_id: Name of the video, unique in its dataset; its path where the list has no names.
    """

    path: str
    label: str
    video_id: str


class ListedVideos:
    """The lines of an annotation as columns, which a million videos need not be made into rows for.

    Args:
        paths: Path of each video relative to the root, N of them.
        labels: Class of each as it is written.
        video_ids: Name of each; None for its path.
        starts: Start of each in its file, in seconds, (N,), NaN for the file's start; None for
            whole files only.
        ends: End of each, likewise.
        found: Mask of the files that are there, (N,); None where that is not known yet. Paths of
            found files are those that `FolderIndex` gives.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: Sequence[str],
        video_ids: Sequence[str] | None = None,
        starts: Seconds | None = None,
        ends: Seconds | None = None,
        found: NDArray[np.bool_] | None = None,
    ) -> None:
        self.paths = paths
        self.labels = labels
        self.video_ids = paths if video_ids is None else video_ids
        self.starts = starts
        self.ends = ends
        self.found = found
        self._root: Path | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ListedVideo:
        return ListedVideo(self.paths[index], self.labels[index], self.video_ids[index])

    def __iter__(self) -> Iterator[ListedVideo]:
        return map(ListedVideo, self.paths, self.labels, self.video_ids)

    def take(self, positions: NDArray[np.int64]) -> Self:
        """Select some of the lines.

        Args:
            positions: Their positions, in order, (M,).
        """
        chosen = positions.tolist()
        taken = type(self)(
            [self.paths[i] for i in chosen],
            [self.labels[i] for i in chosen],
            [self.video_ids[i] for i in chosen],
            None if self.starts is None else self.starts[positions],
            None if self.ends is None else self.ends[positions],
            None if self.found is None else self.found[positions],
        )
        taken._root = self._root
        return taken

    def inside(self, root: Path) -> Self:
        """Make all paths relative to the root, as `relative_paths` does.

        Args:
            root: Folder of the dataset.

        Raises:
            UserError: If a path leads out of the root.
        """
        if self._root == root or (self.found is not None and self.found.all()):
            return self
        paths = relative_paths(root, self.paths)
        ids = None if self.video_ids is self.paths else self.video_ids
        inside = type(self)(paths, self.labels, ids, self.starts, self.ends, self.found)
        inside._root = root
        return inside


def relative_paths(root: Path, paths: Sequence[str]) -> Sequence[str]:
    """Make paths relative to `root` and shortest, so that paths of one file are equal.

    Raises:
        UserError: If a path leads out of the root.
    """
    text = "/".join(("", *paths, ""))
    if not any(part in text for part in ("//", "/./", "/../")):
        return paths
    roots = {os.path.abspath(root), os.path.realpath(root)}
    folders: dict[str, str] = {}
    relative = []
    for path in paths:
        folder, slash, name = path.rpartition("/")
        prefix = folders.get(folder + slash)
        if prefix is None or name in {"", ".", ".."}:
            short = _shortest(root, roots, path)
            if short.endswith(name) and name not in {"", ".", ".."}:
                folders[folder + slash] = short.removesuffix(name)
            relative.append(short)
        else:
            relative.append(prefix + name)
    return relative


def _shortest(root: Path, roots: Iterable[str], path: str) -> str:
    short = os.path.normpath(path)
    for folder in roots:
        if os.path.isabs(short) and os.path.commonpath([folder, short]) == folder:
            short = os.path.relpath(short, folder)
    if os.path.isabs(short) or short.split(os.sep)[0] == "..":
        raise UserError(
            f"the listed path {path!r} leads out of the dataset's root {root}; "
            f"{_way_out(root, short)}"
        )
    return short


def _way_out(root: Path, path: str) -> str:
    """Say what makes a path of another machine one below the root."""
    parts = [part for part in path.split(os.sep) if part not in ("", "..")]
    tails = (os.sep.join(parts[start:]) for start in range(1, len(parts)))
    found = next((tail for tail in tails if (root / tail).exists()), None)
    if found is None:
        return "write the list's paths relative to the root, or set data.root to a folder above"
    prefix = path.removesuffix(found)
    return (
        f"{found} is there, so take {prefix} off the list's lines, as with "
        f"`sed 's|{prefix}||' LIST > NEW_LIST`"
    )
