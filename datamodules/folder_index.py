"""Which videos lie below a folder, found by name in whatever form and spelling they lie there."""

import os
import re
from collections.abc import Container, Iterable, Mapping
from functools import cached_property
from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    }
)
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".webp"))


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


def stem_of(name: str) -> str:
    """A file name without its suffix, where that is a video's."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and dot + suffix.lower() in VIDEO_SUFFIXES else name


def letters_of(name: str) -> str:
    """What the spellings of a folder have in common: its letters and digits, in lower case."""
    return re.sub(r"[\W_]", "", name).lower()


class FolderIndex:
    """The videos below a root, each folder looked at once, when it is first asked for.

    A listed path is found with the suffix of the list, with another video suffix, without one, or
    as a frame folder of that name. Folders on its way may be spelled otherwise, as long as their
    letters and digits are the same (`riding a bike`, `riding_a_bike`).

    Args:
        root: Folder that all paths are relative to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real_root = os.path.realpath(root)
        self._folders: dict[str, _Folder | None] = {}

    def find(self, path: str, *, any_case: bool = False) -> str | None:
        """Where a video lies.

        Args:
            path: Its path as listed, relative to the root, without `.` and `..`.
            any_case: Whether to take a file whose name differs in capitals only, where it is the
                only one.

        Returns:
            Its path relative to the root, or None where it is not there.

        Raises:
            ValueError: If a link on its way leads out of the root.
        """
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        if folder is None:
            return None
        found = name if name in folder.names else folder.find_other(name, any_case=any_case)
        if found is None or (found in folder.links and not self._leads_to_file(folder, found)):
            return None
        return folder.prefix + found

    def find_all(self, paths: Iterable[str]) -> list[str | None]:
        """Where each of many videos lies, see `find`.

        Args:
            paths: Their paths as listed.
        """
        found: list[str | None] = []
        parents: dict[str, tuple[Container[str], Container[str]]] = {}
        for path in paths:
            parent, _, name = path.rpartition("/")
            if parent not in parents:
                parents[parent] = self._names_and_stems(parent)
            names, stems = parents[parent]
            if name in names:
                found.append(path)
            else:
                found.append(self.find(path) if stem_of(name) in stems else None)
        return found

    def stems(self, folder: str) -> Mapping[str, str]:
        """Name without its video suffix -> name, for everything in a folder; a video file first.

        Args:
            folder: Its path relative to the root; there is nothing in one that is not there.
        """
        found = self._folder(folder)
        return {} if found is None else found.stems

    def find_first(self, paths: Iterable[str], *, any_case: bool = False) -> str | None:
        """Where a video lies that has several possible places: at the first that is there.

        Args:
            paths: Its possible paths, see `find`.
            any_case: See `find`.
        """
        found = (self.find(path, any_case=any_case) for path in paths)
        return next((path for path in found if path is not None), None)

    def find_folders(self, paths: Iterable[str]) -> list[str]:
        """The folders that are there, each once.

        Args:
            paths: Possible paths relative to the root, "" for the root itself.
        """
        found = (self.find_folder(path) for path in paths)
        return list(dict.fromkeys(path for path in found if path is not None))

    def find_folder(self, path: str) -> str | None:
        """Where a folder lies, in whatever spelling; "" is the root itself.

        Args:
            path: Its path relative to the root.

        Raises:
            ValueError: If a link on its way leads out of the root.
        """
        folder = self._folder(path)
        return None if folder is None else folder.prefix.rstrip("/")

    def _names_and_stems(self, path: str) -> tuple[Container[str], Container[str]]:
        """What is as listed in a folder, and what may be there by another name or by a link."""
        folder = self._folder(path)
        if folder is None:
            return (), ()
        if folder.links or folder.prefix.rstrip("/") != path:
            return (), folder.stems
        return folder.names, folder.stems

    def _folder(self, path: str) -> "_Folder | None":
        if path not in self._folders:
            self._folders[path] = self._look(path)
        return self._folders[path]

    def _look(self, path: str) -> "_Folder | None":
        place = self.root / path
        if place.is_dir():
            self._check_inside(place)
            return _Folder(place, f"{path}/" if path else "")
        if not path:
            return None
        above, _, name = path.rpartition("/")
        parent = self._folder(above)
        if parent is None or (spelled := parent.spelled.get(letters_of(name))) is None:
            return None
        found = parent.prefix + spelled
        return self._folder(found) if found != path else None

    def _leads_to_file(self, folder: "_Folder", name: str) -> bool:
        self._check_inside(folder.place / name)
        return (folder.place / name).exists()

    def _check_inside(self, place: Path) -> None:
        target = os.path.realpath(place)
        if os.path.commonpath([self._real_root, target]) != self._real_root:
            raise ValueError(
                f"{place} leads out of the dataset's root, to {target}; set data.root to a folder "
                "that holds both, or put the videos themselves there"
            )


class _Folder:
    """The names in one folder.

    Args:
        place: The folder.
        prefix: Its path relative to the root, with a slash behind it; empty for the root.
    """

    def __init__(self, place: Path, prefix: str) -> None:
        self.place = place
        self.prefix = prefix
        self.links = set[str]()
        self.folders = list[str]()
        names = []
        with os.scandir(place) as entries:
            for entry in entries:
                names.append(entry.name)
                if entry.is_symlink():
                    self.links.add(entry.name)
                if entry.is_dir():
                    self.folders.append(entry.name)
        self.names = dict.fromkeys(names)

    def find_other(self, name: str, *, any_case: bool) -> str | None:
        """The name of a video that is not there as it is listed."""
        stem = stem_of(name)
        found = self.stems.get(stem)
        if found is None and any_case:
            found = self._folded.get(stem.lower())
        if found == stem != name and not is_video(self.place / stem):
            return None
        return found

    @cached_property
    def stems(self) -> dict[str, str]:
        """Name without its video suffix -> name; video files first, then by the alphabet."""
        found: dict[str, str] = {}
        for name in self.names:
            stem, dot, suffix = name.rpartition(".")
            if not stem or dot + suffix not in VIDEO_SUFFIXES:
                stem = stem_of(name)
            if stem not in found or found[stem] == stem or stem != name < found[stem]:
                found[stem] = name
        return found

    @cached_property
    def _folded(self) -> dict[str, str]:
        """The same in lower case, without the ambiguous."""
        return _unambiguous((stem.lower(), name) for stem, name in self.stems.items())

    @cached_property
    def spelled(self) -> dict[str, str]:
        """Letters and digits of a folder's name -> the name, without the ambiguous."""
        return _unambiguous((letters_of(name), name) for name in self.folders)


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A dictionary of the keys that occur once."""
    found: dict[str, str] = {}
    twice = set[str]()
    for key, value in pairs:
        if key in found:
            twice.add(key)
        found[key] = value
    return {key: value for key, value in found.items() if key not in twice}
