"""An index of the videos below a folder, which finds them by name in any form and spelling."""

import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.storage.source import Place, Source, as_source
from datamodules.video.suffixes import VIDEO_SUFFIXES, is_video, letters_of, stem_of


class FolderIndex:
    """The videos below a root, each folder looked at once, when it is first asked for.

    A listed path is found with the suffix of the list, with another video suffix, without one, or
    as a frame folder of that name. Folders on its way may be spelled otherwise, as long as their
    letters and digits are the same (`riding a bike`, `riding_a_bike`). Links are followed wherever
    they lead.

    Args:
        root: Folder that all paths are relative to.
    """

    def __init__(self, root: Place) -> None:
        self.root = as_source(root)
        self._folders: dict[str, _Folder | None] = {}

    def find(self, path: str) -> str | None:
        """Find the path of a video.

        Args:
            path: Its path as listed, relative to the root, without `.` and `..`.

        Returns:
            Its path relative to the root, or None where it is not there.
        """
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        if folder is None:
            return None
        found = name if name in folder.names else folder.find_other(name)
        return folder.prefix + found if found and folder.holds(found) else None

    def find_all(self, paths: Iterable[str]) -> list[str | None]:
        """Find the paths of many videos, see `find`.

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
        class_folders: Sequence[str] | None = None,
        *,
        suffix: str = "",
        any_case: bool = False,
    ) -> tuple[list[str], NDArray[np.bool_]]:
        """Find the path of each of many videos in the first of several folders that holds it.

        Args:
            names: File name of each, N of them.
            folders: Folders to look in, relative to the root, the likeliest first; `{}` stands for
                the class folder of a video.
            class_folders: Name of each video's class folder, N of them; None for the empty name.
            suffix: Suffix that the files have and `names` leave out.
            any_case: Take for a video that is not found the only file whose name differs from its
                own in capitals only.

        Returns:
            The path of each, relative to the root, the likeliest one for a missing file; and a mask
            of the files that are there, (N,).
        """
        paths: list[str] = []
        missing: list[int] = []
        known: dict[str, tuple[list[_Folder], str, Container[str]]] = {}
        own_folders = class_folders or repeat("", len(names))
        for name, class_folder in zip(names, own_folders, strict=True):
            candidates = known.get(class_folder)
            if candidates is None:
                candidates = known[class_folder] = self._candidates(folders, class_folder)
            present_folders, expected, plain = candidates
            file = name + suffix
            if file in plain:
                paths.append(expected + file)
                continue
            for folder in present_folders:
                found: str | None = file
                if file not in folder.names:
                    found = folder.stems.get(name if suffix else stem_of(name))
                if found is not None and folder.holds(found):
                    paths.append(folder.prefix + found)
                    break
            else:
                missing.append(len(paths))
                paths.append(expected + file)
        if any_case:
            own = class_folders or [""] * len(names)
            missing = [i for i in missing if not self._respell(paths, i, known[own[i]][0])]
        present = np.ones(len(paths), np.bool_)
        present[missing] = False
        return paths, present

    def _candidates(
        self, folders: Sequence[str], class_folder: str
    ) -> tuple[list["_Folder"], str, Container[str]]:
        """List the folders that may hold a class's videos.

        Returns:
            The folders that are not empty; the prefix of the likeliest one; and the names in that
            one, none where one of them is a link, which has to be resolved.
        """
        forms = [folder.format(class_folder).strip("/") for folder in folders]
        found = {folder.prefix: folder for folder in map(self._folder, forms) if folder}
        likeliest = next(filter(None, found), f"{forms[0]}/".lstrip("/"))
        first = found.get(likeliest)
        plain = first.names if first is not None and not first.links else ()
        return [folder for folder in found.values() if folder.names], likeliest, plain

    def _respell(self, paths: list[str], position: int, folders: Iterable["_Folder"]) -> bool:
        """Replace a missing path by that of a file whose name differs in capitals only.

        Returns:
            True if there is one; `paths[position]` is then its path.
        """
        stem = stem_of(paths[position].rpartition("/")[2]).lower()
        for folder in folders:
            found = folder.folded.get(stem)
            if found is not None and folder.holds(found):
                paths[position] = folder.prefix + found
                return True
        return False

    def stems_in(self, folders: Sequence[str], class_folders: Iterable[str]) -> set[str]:
        """Collect the names in some folders, without their video suffix.

        Args:
            folders: The folders, see `locate`.
            class_folders: Names that `{}` stands for.
        """
        found = chain.from_iterable(self._candidates(folders, name)[0] for name in class_folders)
        each = {folder.prefix: folder for folder in found}.values()
        return set(chain.from_iterable(folder.stems for folder in each))

    def stems(self, folder: str) -> Mapping[str, str]:
        """Map names without their video suffix to names, for one folder; video files go first.

        Args:
            folder: Its path relative to the root; a folder that is not there holds nothing.
        """
        found = self._folder(folder)
        return {} if found is None else found.stems

    def _names_and_stems(self, path: str) -> tuple[Container[str], Container[str]]:
        """List a folder's names that need no look-up, and the stems of names that may need one."""
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
            return _Folder(self.root, "") if self.root.is_folder() else None
        above, _, name = path.rpartition("/")
        parent = self._folder(above)
        if parent is None:
            return None
        if name not in parent.folders:
            spelled = parent.spelled.get(letters_of(name))
            return None if spelled is None else self._folder(parent.prefix + spelled)
        if parent.prefix != f"{above}/".lstrip("/"):
            return self._folder(parent.prefix + name)
        return _Folder(parent.place / name, f"{path}/") if parent.holds(name) else None


class _Folder:
    """The names in one folder.

    Args:
        place: The folder.
        prefix: Its path relative to the root, with a slash behind it; empty for the root.
    """

    def __init__(self, place: Source, prefix: str) -> None:
        self.place = place
        self.prefix = prefix
        self.links = set[str]()
        self.folders = set[str]()
        self.names = dict[str, None]()
        for name, is_folder in self._linked(place.path) if place.path else place.entries():
            self.names[name] = None
            if is_folder:
                self.folders.add(name)

    def _linked(self, path: Path) -> Iterator[tuple[str, bool]]:
        """List a folder of this machine, and note which of its names are links."""
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_symlink():
                    self.links.add(entry.name)
                    yield entry.name, os.path.isdir(entry)  # False for a link to itself
                else:
                    yield entry.name, entry.is_dir()

    def holds(self, name: str) -> bool:
        """Check that an entry leads somewhere: a link may be broken."""
        return name not in self.links or (self.place / name).exists()

    def find_other(self, name: str) -> str | None:
        """Find the name of a video that is not there under its listed name."""
        stem = stem_of(name)
        found = self.stems.get(stem)
        if found == stem != name and not is_video(self.place / stem):
            return None
        return found

    @cached_property
    def stems(self) -> dict[str, str]:
        """Map from stems to names; of several, a video file first, then by the alphabet."""
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
        """Map from lower-case stems to names, without stems that several names share."""
        return _unambiguous((stem.lower(), name) for stem, name in self.stems.items())

    @cached_property
    def spelled(self) -> dict[str, str]:
        """Map from letters and digits to folder names, without those that several names share."""
        return _unambiguous((letters_of(name), name) for name in self.folders)


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Make a dictionary of the keys that occur once."""
    found: dict[str, str] = {}
    twice = set[str]()
    for key, value in pairs:
        if key in found:
            twice.add(key)
        found[key] = value
    return {key: value for key, value in found.items() if key not in twice}
