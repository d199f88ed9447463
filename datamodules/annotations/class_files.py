"""Class files in every common form, and folders named after classes."""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from datamodules.annotations.json_files import read_json_entries
from datamodules.annotations.listed_videos import ListedVideo, ListedVideos
from datamodules.annotations.text_files import read_lines
from datamodules.errors import UserError
from datamodules.storage.source import Source
from datamodules.video.suffixes import VIDEO_SUFFIXES, is_video, letters_of, visible_folders

MAX_CLASSES = 100_000
"""Most classes that are read from a label map: no dataset has a tenth as many."""


def read_class_folders(root: Source, folder: str, class_names: Sequence[str]) -> ListedVideos:
    """List the videos `<folder>/<class>/<video>`, sorted by name.

    Args:
        root: Folder that the resulting paths are relative to.
        folder: Path of the folder of class folders in it; empty for itself.
        class_names: Names of the class folders to read.

    Raises:
        UserError: If a class folder is missing or holds no video, or the folder holds class
            folders of other names.
    """
    place = root / folder if folder else root
    others = [name for name in visible_folders(place) if name not in set(class_names)]
    unknown = [name for name in others if not is_video(place / name)]
    if unknown:
        raise UserError(
            f"{place} holds folders that are not among the {len(class_names)} classes of the "
            f"training videos: {', '.join(unknown[:10])}; remove them, or add them to training"
        )
    paths: list[str] = []
    labels: list[str] = []
    for name in class_names:
        class_folder = place / name
        if not class_folder.is_folder():
            raise UserError(
                f"{place} has no folder for the class {name!r}; every split needs all "
                f"{len(class_names)} class folders"
            )
        found = sorted(entry for entry in class_folder.names() if is_video(class_folder / entry))
        if not found:
            raise UserError(
                f"the class folder {class_folder} holds no video; put files "
                f"({', '.join(sorted(VIDEO_SUFFIXES))}) or frame folders there, or remove it"
            )
        paths += ["/".join(filter(None, (folder, name, entry))) for entry in found]
        labels += [name] * len(found)
    return ListedVideos(paths, labels)


def read_class_list(path: Path) -> dict[str, str]:
    """Read a class file, one class a line, in any of the field's forms.

    `<id> <name>` on every line (UCF101's `classInd.txt`, ids from 0 or 1, in any order),
    `<name>,<id>` (Moments in Time), or a bare `<name>` (Something-Something's labels, label maps),
    numbered by its line.

    Returns:
        Class id as written in the lists ("1"), or its 0-based line number -> class name, in the
        order of the ids.

    Raises:
        UserError: If the file is empty or names a class or an id twice.
    """
    lines = read_lines(path)
    first = [re.fullmatch(r"(?P<id>\d+)[\s,]+(?P<name>\S.*)", line) for line in lines]
    last = [re.fullmatch(r"(?P<name>\S.*?)\s*,\s*(?P<id>\d+)", line) for line in lines]
    matches = first if all(first) else last
    numbered = [(int(match["id"]), match["name"]) for match in matches if match]
    return _in_order(path, numbered if len(numbered) == len(lines) else list(enumerate(lines)))


def read_label_map(path: Path) -> list[str]:
    """Read the names of the classes in label order, from JSON or any file of `read_class_list`.

    JSON may be a list of names, names -> numbers, or numbers -> names. Quotes that some public
    files carry within the names are left out.

    Raises:
        UserError: If the file is none of these, or names a class or a number twice.
    """
    if path.suffix.lower() != ".json":
        return list(read_class_list(path).values())
    try:
        entries = enumerate(islice(read_json_entries(path), MAX_CLASSES))
        named = [_number_and_name(i if key is None else key, value) for i, (key, value) in entries]
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the label map {path} must be a JSON list of class names, or names with their "
            f"numbers; correct it ({error})"
        ) from error
    return list(_in_order(path, named).values())


def _number_and_name(key: object, value: object) -> tuple[int, str]:
    numbered = isinstance(value, int) or str(value).isdecimal()
    number, name = (value, key) if numbered else (key, value)
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is no name")
    return int(str(number)), name.strip('"')


def _in_order(path: Path, numbered: list[tuple[int, str]]) -> dict[str, str]:
    """Map each number as written to its name, in the order of the numbers."""
    classes = {str(number): name for number, name in sorted(numbered)}
    names = set(classes.values())
    if not numbered or len(classes) < len(numbered) or len(names) < len(numbered):
        raise UserError(
            f"the class file {path} must hold one class a line, each name and id once; it has "
            f"{len(numbered)} lines, {len(classes)} ids and {len(names)} names"
        )
    return classes


def index_of_letters(class_names: Sequence[str]) -> dict[str, int]:
    """Map the letters and digits of each class to its label, for files that differ in the rest.

    Args:
        class_names: Names of the classes in label order.

    Raises:
        UserError: If two classes have the same letters and digits.
    """
    index = {letters_of(name): label for label, name in enumerate(class_names)}
    if len(index) < len(class_names):
        kept = set(index.values())
        same = next(name for label, name in enumerate(class_names) if label not in kept)
        raise UserError(
            f"the class {same!r} has the letters and digits of another class, so their folders "
            "cannot be told apart; rename one of them in the lists and the class file"
        )
    return index


def class_folder_of(videos: Iterable[ListedVideo]) -> dict[str, str]:
    """Map labels as written to their videos' folders; empty unless each has one of its own."""
    folders: dict[str, set[str]] = {}
    for video in videos:
        folders.setdefault(video.label, set()).add(Path(video.path).parent.name)
    names = {label: next(iter(found)) for label, found in folders.items() if len(found) == 1}
    owned = len(set(names.values())) == len(names) == len(folders) and "" not in names.values()
    return names if owned else {}
