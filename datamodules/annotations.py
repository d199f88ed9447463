"""Annotation tables: which videos are listed, where they lie, and what their labels are.

A table holds arrays, not lists of Python objects, so that a million videos load in seconds and
loader workers share one copy: strings are packed into one byte array with offsets, in shared
memory where torch can put it.
"""

import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    }
)
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".webp"))

_SUFFIX = "(?:" + "|".join(re.escape(suffix) for suffix in sorted(VIDEO_SUFFIXES)) + ")"
_NUMBER = r"-?\d+(?:\.\d+)?"
# "x.mp4 grow": a video file, then text that is no number and no rest of a path
_CLASS_NAMED = re.compile(
    rf"(.+?{_SUFFIX})[\s,]+(?![\s,]|{_NUMBER}(?:[\s,]|$)|.*{_SUFFIX}$)([^/]+)", re.IGNORECASE
)
# what no header line has: a folder, a video file or a number at the end
_ENTRY = re.compile(rf"/|{_SUFFIX}(?:[\s,]|$)|[\s,]{_NUMBER}$", re.IGNORECASE)


class PackedStrings(Sequence[str]):
    """An immutable sequence of strings kept in two arrays.

    Args:
        strings: The strings, in order.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        encoded = [s.encode("utf-8", "surrogateescape") for s in strings]
        ends = np.cumsum([len(e) for e in encoded], dtype=np.int64)
        blob = np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8)
        self._blob: Tensor = torch.from_numpy(blob.copy())
        self._offsets: Tensor = torch.from_numpy(np.concatenate([np.zeros(1, np.int64), ends]))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside the {len(self)} strings")
        index %= len(self)
        start, end = int(self._offsets[index]), int(self._offsets[index + 1])
        return self._blob[start:end].numpy().tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        blob = self._blob.numpy().tobytes()
        offsets = self._offsets.tolist()
        for start, end in pairwise(offsets):
            yield blob[start:end].decode("utf-8", "surrogateescape")

    def __repr__(self) -> str:
        return f"PackedStrings({len(self)} strings)"


@dataclass(frozen=True)
class VideoTable:
    """The listed videos of one split.

    Attributes:
        video_ids: Name of each video, unique, stable between machines: its path in the list.
        paths: Path of each video, relative to the dataset's root.
        labels: Class of each video, (N,) int64, 0-based.
        present: Positions of the videos whose file was found, increasing, (M,) int64.
    """

    video_ids: PackedStrings
    paths: PackedStrings
    labels: np.ndarray
    present: np.ndarray

    def __len__(self) -> int:
        return len(self.video_ids)

    @property
    def missing(self) -> list[str]:
        """Video ids that are listed but whose file was not found."""
        absent = np.ones(len(self), dtype=bool)
        absent[self.present] = False
        return [self.video_ids[int(i)] for i in np.flatnonzero(absent)]


@dataclass(frozen=True)
class ListedVideo:
    """One line of an annotation: a path relative to the root, and the class as it is written."""

    path: str
    label: str


def make_table(
    root: Path, videos: Sequence[ListedVideo], class_index: dict[str, int]
) -> VideoTable:
    """Build the table of one split and look which of its files exist.

    Args:
        root: Folder that the paths are relative to; absolute paths inside it are made so.
        videos: The listed videos.
        class_index: Class as written in the annotation -> 0-based label.

    Raises:
        ValueError: If a path leaves the root, is listed twice, or a class is unknown.
    """
    seen: set[str] = set()
    paths = relative_paths(root, [video.path for video in videos])
    for path, video in zip(paths, videos, strict=True):
        if path in seen:
            raise ValueError(f"{video.path} is listed twice in one split; remove one of the lines")
        if video.label not in class_index:
            raise ValueError(
                f"the class {video.label!r} of {video.path} is not among the "
                f"{len(class_index)} classes; correct the list or the class file"
            )
        seen.add(path)
    return VideoTable(
        video_ids=PackedStrings(paths),
        paths=PackedStrings(paths),
        labels=np.array([class_index[video.label] for video in videos], dtype=np.int64),
        present=find_present(root, paths),
    )


def relative_paths(root: Path, paths: Sequence[str]) -> list[str]:
    """The paths relative to `root` and in their shortest form, so that equal paths are equal.

    Raises:
        ValueError: If a path leads out of the root.
    """
    places = {os.path.abspath(root), os.path.realpath(root)}
    relative = []
    for path in paths:
        short = os.path.normpath(path)
        for place in places:
            if os.path.isabs(short) and os.path.commonpath([place, short]) == place:
                short = os.path.relpath(short, place)
        if os.path.isabs(short) or short.split(os.sep)[0] == "..":
            raise ValueError(f"the listed path {path!r} leads out of the dataset's root {root}")
        relative.append(short)
    return relative


def find_present(root: Path, paths: Sequence[str]) -> np.ndarray:
    """Positions of the relative paths that exist below `root`; a folder is listed only once."""
    folders: dict[str, frozenset[str]] = {}
    found = []
    for position, path in enumerate(paths):
        folder, name = os.path.split(path)
        if folder not in folders:
            place = root / folder
            folders[folder] = frozenset(os.listdir(place)) if place.is_dir() else frozenset()
        if name in folders[folder]:
            found.append(position)
    return np.array(found, dtype=np.int64)


def is_video(path: Path) -> bool:
    """Whether a path is a video file by its suffix, or a frame folder.

    A frame folder holds images, and neither video files nor (visible) folders: a picture beside
    videos does not make their folder one.
    """
    if not path.is_dir():
        return path.suffix.lower() in VIDEO_SUFFIXES
    images = False
    with os.scandir(path) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if suffix in VIDEO_SUFFIXES or (entry.is_dir() and not entry.name.startswith(".")):
                return False
            images |= suffix in IMAGE_SUFFIXES
    return images


def visible_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def read_class_folders(root: Path, folder: Path, class_names: Sequence[str]) -> list[ListedVideo]:
    """Videos of `<folder>/<class>/<video>`, sorted by name.

    Args:
        root: Folder that the resulting paths are relative to.
        folder: Folder of class folders, at or below the root.
        class_names: Names of the class folders to read.

    Raises:
        ValueError: If a class folder is missing or holds no video, or the folder holds class
            folders of other names.
    """
    others = [name for name in visible_folders(folder) if name not in set(class_names)]
    unknown = [name for name in others if not is_video(folder / name)]
    if unknown:
        raise ValueError(
            f"{folder} holds folders that are not among the {len(class_names)} classes of the "
            f"training videos: {', '.join(unknown[:10])}; remove them, or add them to training"
        )
    videos = []
    for name in class_names:
        place = folder / name
        if not place.is_dir():
            raise ValueError(
                f"{folder} has no folder for the class {name!r}; every split needs all "
                f"{len(class_names)} class folders"
            )
        found = sorted(entry for entry in place.iterdir() if is_video(entry))
        if not found:
            raise ValueError(
                f"the class folder {place} holds no video; put files "
                f"({', '.join(sorted(VIDEO_SUFFIXES))}) or frame folders there, or remove it"
            )
        videos += [ListedVideo(entry.relative_to(root).as_posix(), name) for entry in found]
    return videos


def read_class_list(path: Path) -> dict[str, str]:
    """Read a class file, one class a line, in either of the field's two forms.

    `<id> <name>` on every line (UCF101's `classInd.txt`, ids from 0 or 1, in any order), or a bare
    `<name>` (Something-Something's labels, label maps), numbered by its line.

    Returns:
        Class id as written in the lists ("1"), or its 0-based line number -> class name, in the
        order of the ids.

    Raises:
        ValueError: If the file is empty or names a class or an id twice.
    """
    lines = _read_lines(path)
    matches = [re.fullmatch(r"(\d+)[\s,]+(\S.*)", line) for line in lines]
    if lines and all(matches):
        pairs = sorted((int(m[1]), m[2]) for m in matches if m)
    else:
        pairs = list(enumerate(lines))
    classes = {str(number): name for number, name in pairs}
    if not lines or len(classes) < len(lines) or len(set(classes.values())) < len(lines):
        raise ValueError(
            f"the class file {path} must hold one class a line, each name and id once; "
            f"it has {len(lines)} lines, {len(classes)} ids and {len(set(classes.values()))} names"
        )
    return classes


def read_video_list(path: Path) -> list[ListedVideo]:
    """Read a list file in any of the field's common forms, one video a line.

    Fields are separated by blanks, tabs or commas, and are counted from the right, so that paths
    may hold blanks: `path label`, `frame_dir num_frames label`, `path duration label`,
    `frame_dir start_index total_frames` (no label) and a bare `path`. Without a label the class is
    the name of the folder that holds the video. Video files may also be listed with the name of
    their class, `path class`. Fields may be quoted as in CSV.

    Raises:
        ValueError: If the file is missing, is empty, is not UTF-8, has a header or mixes forms.
    """
    if not path.is_file():
        raise ValueError(f"there is no list file at {path}; check the argument that names it")
    lines = [_unquoted(line) for line in _read_lines(path)]
    if not lines:
        raise ValueError(f"the list file {path} is empty; it needs one video a line")
    if len(lines) > 1 and not _ENTRY.search(lines[0]) and all(map(_ENTRY.search, lines[1:])):
        raise ValueError(
            f"the first line of {path}, {lines[0]!r}, names no video but all others do; remove the "
            "header line"
        )
    named = [_CLASS_NAMED.fullmatch(line) for line in lines]
    if any(named):
        if not all(named):
            odd = lines[named.index(None)]
            raise ValueError(f"{path} mixes lines with and without a class name, such as {odd!r}")
        return [ListedVideo(match[1], match[2]) for match in named if match]
    return _read_numbered_lines(path, lines)


def _read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, stripped."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _unquoted(line: str) -> str:
    """The line without the quotes of CSV fields."""
    return ",".join(next(csv.reader([line]))) if '"' in (line[0], line[-1]) else line


def _read_numbered_lines(path: Path, lines: Sequence[str]) -> list[ListedVideo]:
    """Read lines of a path and up to two numbers."""
    numbers = [re.fullmatch(rf"(.*?)((?:[\s,]+{_NUMBER}){{0,2}})", line) for line in lines]
    fields = [(m[1], re.split(r"[\s,]+", m[2].strip(" \t,")) if m[2] else []) for m in numbers if m]
    counts = {len(values) for _, values in fields}
    if counts == {1, 2}:  # some paths end in a number after a blank: the label stands last
        fields = [(" ".join([name, *values[:-1]]), values[-1:]) for name, values in fields]
    elif len(counts) > 1:
        odd = next(line for line, (_, values) in zip(lines, fields, strict=True) if not values)
        raise ValueError(f"{path} mixes lines with and without a label, for instance {odd!r}")
    starts_only = all(len(v) == 2 and v[0] in {"0", "1"} for _, v in fields)
    return [
        ListedVideo(name, values[-1] if values and not starts_only else Path(name).parent.name)
        for name, values in fields
    ]


def class_folder_of(videos: Sequence[ListedVideo]) -> dict[str, str]:
    """Label as written -> name of the folder its videos lie in, where that is one and its own."""
    folders: dict[str, set[str]] = {}
    for video in videos:
        folders.setdefault(video.label, set()).add(Path(video.path).parent.name)
    names = {label: next(iter(found)) for label, found in folders.items() if len(found) == 1}
    owned = len(set(names.values())) == len(names) == len(folders) and "" not in names.values()
    return names if owned else {}
