"""KineticsDataModule: Kinetics-400, 600 and 700, as hosted by CVDF or downloaded from YouTube."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.annotations.class_files import index_of_letters, read_label_map
from datamodules.annotations.folder_index import FolderIndex
from datamodules.annotations.listed_videos import ListedVideo, ListedVideos
from datamodules.annotations.search_folders import OfficialLists
from datamodules.annotations.text_files import read_columns
from datamodules.base import Split, VideoDataModule
from datamodules.errors import UserError
from datamodules.video.suffixes import letters_of

Version = Literal["k400", "k600", "k700", "k700_2020"]

NUM_CLASSES: dict[Version, int] = {"k400": 400, "k600": 600, "k700": 700, "k700_2020": 700}
COUNTS: dict[Version, dict[Split, int]] = {"k400": {"train": 246534, "val": 19906}}
"""Rows of the official lists, where a source prints them."""
COLUMNS = ("label", "youtube_id", "time_start", "time_end")
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "validate", "validation"),
}
VIDEO_FOLDERS = (
    *("{}", "videos/{}", "videos_{}", "{}_256", "compress/{}_256"),
    *("rawframes_{}", "rawframes/{}", "frames/{}"),
)
REPLACEMENTS = "replacement/replacement_for_corrupted_k400"
"""Folder of intact copies of files that are damaged in the archives."""
ID_LENGTH = 11
"""Characters of a YouTube id."""


class KineticsDataModule(VideoDataModule):
    """Kinetics in any of its public forms; the validation videos are also the test set.

    Videos may lie directly in the folder of their split or in class folders (with blanks,
    underscores, or without either), be named `<id>_<start>_<end>` or by the bare YouTube id, and be
    files or frame folders. Lists are CSV with the columns `label, youtube_id, time_start, time_end`
    in any order. Classes are numbered as in the public label maps: the sorted names of the lists.
    Kay et al.: "The Kinetics Human Action Video Dataset", 2017; Carreira et al., 2018 and 2019.

    Args:
        root: Folder of the dataset.
        version: The edition.
        annotations: Folder of the lists, relative to the root or as it is; null looks in the root
            and in `annotations`.
        train_list: Another list of training videos (a smaller Kinetics, a downloaded part),
            relative to the root or as it is; null for the official one.
        val_list: Another list of validation videos.
        label_map: Names of the classes in label order, one a line or JSON; null sorts the names of
            the lists.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        UserError: If arguments do not fit together.
    """

    reported_split = "val"

    def __init__(
        self,
        root: str = "data/kinetics",
        version: Version = "k400",
        annotations: str | None = None,
        train_list: str | None = None,
        val_list: str | None = None,
        label_map: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        self.version: Version = version
        self.annotations = annotations
        self._given: dict[Split, str | None] = {"train": train_list, "val": val_list}
        self._label_map = label_map
        self._columns: dict[Path, list[list[str]]] = {}

    @property
    def edition(self) -> str:
        """The edition: 400, 600 or 700 classes."""
        return self.version

    @cached_property
    def class_names(self) -> list[str]:
        """The classes in the order of the public label maps.

        Raises:
            UserError: If there is no list or label map to take them from.
        """
        if self._label_map is not None:
            return read_label_map(self._resolve(self._label_map))
        path = self._list("train") or self._list("val")
        assert path is not None
        names = sorted(set(self._read(path)[0]))
        official = NUM_CLASSES[self.version]
        if len(names) != official:
            sentence = f"{path} names {len(names)} classes, {self.version} has {official}"
            self.remarks.add("classes", sentence)
        return names

    def class_index(self) -> dict[str, int]:
        """Map letters and digits of classes to labels: lists and label maps differ in the rest."""
        return index_of_letters(self.class_names)

    def official_counts(self) -> dict[Split, int]:
        """Count the videos in Kinetics-400's official lists; none where another list is given."""
        counts = COUNTS.get(self.version, {})
        return {split: count for split, count in counts.items() if self._given[split] is None}

    def read_split(self, split: Split) -> ListedVideos | None:
        """Read the videos of a split; results are reported on the validation videos."""
        path = None if split == "test" else self._list(split)
        if path is None:
            return None
        classes, youtube_ids, starts, ends = self._read(path)
        seconds = _Seconds(path)
        times = (map(seconds.__getitem__, column) for column in (starts, ends))
        names = list(map("_".join, zip(youtube_ids, *times, strict=True)))
        paths, found = _locate(self.files, split, classes, youtube_ids, names)
        letters = {name: letters_of(name) for name in set(classes)}
        return ListedVideos(paths, [letters[name] for name in classes], names, found=found)

    def source_of(self, video: ListedVideo) -> str:
        """Name the YouTube video of a clip."""
        return video.video_id.rsplit("_", 2)[0]

    def setup(self, stage: str | None = None) -> None:
        """Read the splits, see `VideoDataModule.setup`."""
        super().setup(stage)
        self._columns.clear()

    def _read(self, path: Path) -> list[list[str]]:
        """Read the columns of a list, once until `setup` is done: `class_names` needs them, too."""
        if path not in self._columns:
            self._columns[path] = read_columns(path, COLUMNS, COLUMNS)
        return self._columns[path]

    def _list(self, split: Split) -> Path | None:
        """Find the list of a split; None where there is none for training."""
        given = self._given[split]
        if given is not None:
            return self._resolve(given)
        number = self.version.removeprefix("k")
        usual = [f"{prefix}{number}" for prefix in ("kinetics", "kinetics_", "k")]
        lists = OfficialLists(self.root, self.annotations, usual)
        # the CSV files of Kinetics-600 are incomplete
        suffixes = (".txt", ".csv") if self.version == "k600" else (".csv", ".txt")
        prefixes = ("", "kinetics_", *(f"{name}_" for name in usual), f"kinetics-{number}_")
        names = [
            f"{prefix}{name}{suffix}"
            for suffix in suffixes
            for prefix in prefixes
            for name in SPLIT_NAMES[split]
        ]
        return lists.find(names) if split == "train" else lists.get(names)

    def _resolve(self, listed: str) -> Path:
        """Resolve a list's path: relative to the root where it is there, else as given."""
        inside = self.root / listed
        return inside if inside.exists() else Path(listed)


def _locate(
    files: FolderIndex,
    split: Split,
    classes: Sequence[str],
    youtube_ids: Sequence[str],
    names: Sequence[str],
) -> tuple[list[str], NDArray[np.bool_]]:
    """Find the path of each listed video, see `FolderIndex.locate`.

    Args:
        files: Index of the files below the root.
        split: The split whose folders to look in.
        classes: Class of each video, as the list writes it.
        youtube_ids: YouTube id of each.
        names: File name of each, with times, without suffix.
    """
    usual = [form.format(name) for form in VIDEO_FOLDERS for name in SPLIT_NAMES[split]]
    folders = [*usual, "videos", "", *(f"{folder}/{{}}" for folder in (*usual, "videos", ""))]
    paths, found = files.locate(names, folders, classes, suffix=".mp4")
    # a file that is named by its id alone tells not which one it is where that is listed twice
    there = set[str]() if found.all() else files.stems_in(folders, set(classes))
    listed = Counter(youtube_id for youtube_id in youtube_ids if youtube_id in there)
    missing = np.flatnonzero(~found).tolist() if listed else []
    alone = [i for i in missing if listed[youtube_ids[i]] == 1]
    by_id = [youtube_ids[i] for i in alone]
    by_id, present = files.locate(by_id, folders, [classes[i] for i in alone], suffix=".mp4")
    for i in np.flatnonzero(present).tolist():
        paths[alone[i]], found[alone[i]] = by_id[i], True
    _replace(files, youtube_ids, paths, found)
    return paths, found


def _replace(
    files: FolderIndex, youtube_ids: Sequence[str], paths: list[str], found: NDArray[np.bool_]
) -> None:
    """Replace the paths of videos that are damaged in the archives by those of intact copies."""
    intact = {name[:ID_LENGTH]: name for name in files.stems(REPLACEMENTS).values()}
    for i, youtube_id in enumerate(youtube_ids if intact else ()):
        if youtube_id in intact and (path := files.find(f"{REPLACEMENTS}/{intact[youtube_id]}")):
            paths[i], found[i] = path, True


class _Seconds(dict[str, str]):
    """Seconds as file names write them, by seconds as lists do; each is converted once.

    Args:
        path: The list, for the message.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __missing__(self, written: str) -> str:
        try:
            self[written] = f"{int(float(written)):06d}"
        except (ValueError, OverflowError) as error:
            raise UserError(
                f"{self._path} has the time {written!r}, which is no number of seconds; correct it"
            ) from error
        return self[written]
