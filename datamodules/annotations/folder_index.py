"""Which videos lie below a folder, found by name in whatever form and spelling they lie there."""

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError
from datamodules.video.suffixes import VIDEO_SUFFIXES, is_video, letters_of, stem_of


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

    def find(self, path: str) -> str | None:
        """Where a video lies.

        Args:
            path: Its path as listed, relative to the root, without `.` and `..`.

        Returns:
            Its path relative to the root, or None where it is not there.

        Raises:
            UserError: If a link on its way leads out of the root.
        """
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        if folder is None:
            return None
        found = name if name in folder.names else folder.find_other(name)
        return folder.prefix + found if found and self._is_inside(folder, found) else None

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

    def locate(
        self,
        names: Sequence[str],
        folders: Sequence[str],
        groups: Sequence[str] | None = None,
        *,
        suffix: str = "",
        any_case: bool = False,
    ) -> tuple[list[str], NDArray[np.bool_]]:
        """Where each of many videos lies that may be in several folders: in the first that has it.

        Args:
            names: File name of each, N of them.
            folders: Where they may be, relative to the root, the likeliest first; `{}` stands for
                the group of a video.
            groups: Group of each, such as its class; None for one without a name.
            suffix: What is left out at the end of all names.
            any_case: Whether to take a file whose name differs in capitals only, where it is the
                only one, for a video that is nowhere.

        Returns:
            The path of each, relative to the root, the likeliest one where it is not there; and
            whether it is, (N,).

        Raises:
            UserError: If a link on the way to one leads out of the root.
        """
        paths: list[str] = []
        missing: list[int] = []
        known: dict[str, tuple[list[_Folder], str, Container[str]]] = {}
        for name, group in zip(names, groups or repeat("", len(names)), strict=True):
            here = known.get(group)
            if here is None:
                here = known[group] = self._places(folders, group)
            places, expected, plain = here
            file = name + suffix
            if file in plain:
                paths.append(expected + file)
                continue
            for folder in places:
                found: str | None = file
                if file not in folder.names:
                    found = folder.stems.get(name if suffix else stem_of(name))
                if found is not None and (
                    found not in folder.links or self._is_inside(folder, found)
                ):
                    paths.append(folder.prefix + found)
                    break
            else:
                missing.append(len(paths))
                paths.append(expected + file)
        if any_case:
            groups = groups or [""] * len(names)
            missing = [i for i in missing if not self._respell(paths, i, known[groups[i]][0])]
        present = np.ones(len(paths), np.bool_)
        present[missing] = False
        return paths, present

    def _places(
        self, folders: Sequence[str], group: str
    ) -> tuple[list["_Folder"], str, Container[str]]:
        """The folders of a group that are there and hold something, and its likeliest one.

        Then the names in that one, where none is a link, which would have to be looked at.
        """
        forms = [folder.format(group).strip("/") for folder in folders]
        found = {folder.prefix: folder for folder in map(self._folder, forms) if folder}
        likeliest = next(filter(None, found), f"{forms[0]}/".lstrip("/"))
        first = found.get(likeliest)
        plain = first.names if first is not None and not first.links else ()
        return [folder for folder in found.values() if folder.names], likeliest, plain

    def _respell(self, paths: list[str], position: int, places: Iterable["_Folder"]) -> bool:
        """Take the file whose name differs from a missing one in capitals only, in place."""
        stem = stem_of(paths[position].rpartition("/")[2]).lower()
        for folder in places:
            found = folder.folded.get(stem)
            if found is not None and self._is_inside(folder, found):
                paths[position] = folder.prefix + found
                return True
        return False

    def stems_in(self, folders: Sequence[str], groups: Iterable[str]) -> set[str]:
        """Names without their video suffix of all that is in the folders of some groups.

        Args:
            folders: The folders, see `locate`.
            groups: The groups.
        """
        places = chain.from_iterable(self._places(folders, group)[0] for group in groups)
        each = {folder.prefix: folder for folder in places}.values()
        return set(chain.from_iterable(folder.stems for folder in each))

    def stems(self, folder: str) -> Mapping[str, str]:
        """Name without its video suffix -> name, for everything in a folder; a video file first.

        Args:
            folder: Its path relative to the root; there is nothing in one that is not there.
        """
        found = self._folder(folder)
        return {} if found is None else found.stems

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
        if not path:
            return _Folder(self.root, "") if self.root.is_dir() else None
        above, _, name = path.rpartition("/")
        parent = self._folder(above)
        if parent is None:
            return None
        if name not in parent.folders:
            spelled = parent.spelled.get(letters_of(name))
            return None if spelled is None else self._folder(parent.prefix + spelled)
        if parent.prefix != f"{above}/".lstrip("/"):
            return self._folder(parent.prefix + name)
        return _Folder(parent.place / name, f"{path}/") if self._is_inside(parent, name) else None

    def _is_inside(self, folder: "_Folder", name: str) -> bool:
        """Whether an entry of a folder is there; a link may lead nowhere, but not outside."""
        if name not in folder.links:
            return True
        place = folder.place / name
        target = os.path.realpath(place)
        if os.path.commonpath([self._real_root, target]) != self._real_root:
            raise UserError(
                f"{place} leads out of the dataset's root, to {target}; set data.root to a folder "
                "that holds both, or put the videos themselves there"
            )
        return place.exists()


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
        self.folders = set[str]()
        names = []
        with os.scandir(place) as entries:
            for entry in entries:
                names.append(entry.name)
                if entry.is_symlink():
                    self.links.add(entry.name)
                if entry.is_dir():
                    self.folders.add(entry.name)
        self.names = dict.fromkeys(names)

    def find_other(self, name: str) -> str | None:
        """The name of a video that is not there as it is listed."""
        stem = stem_of(name)
        found = self.stems.get(stem)
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
            other = found.setdefault(stem, name)
            if other is not name and (other == stem or stem != name < other):
                found[stem] = name
        return found

    @cached_property
    def folded(self) -> dict[str, str]:
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
