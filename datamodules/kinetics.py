"""KineticsDataModule: Kinetics-400, 600 and 700, as hosted by CVDF or downloaded from YouTube."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_info

from datamodules.annotations import ListedVideo
from datamodules.base import Split, VideoDataModule
from datamodules.class_files import index_of_letters, read_label_map
from datamodules.folder_index import FolderIndex, letters_of
from datamodules.official_lists import OfficialLists
from datamodules.text_files import read_columns

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

Contents = tuple[str, Mapping[str, str]]
"""A folder with a slash behind it, and the names in it by their stems."""


class KineticsDataModule(VideoDataModule):
    """Kinetics in any of its public forms; the validation videos are also the test set.

    Videos may lie directly in the folder of their split or in class folders (with blanks,
    underscores, or without either), be named `<id>_<start>_<end>` or by the bare YouTube id, and be
    files or frame folders. Lists are CSV with the columns `label, youtube_id, time_start, time_end`
    in any order. Classes are numbered as in the public label maps: the sorted names of the lists.
    Kay et al.: "The Kinetics Human Action Video Dataset", 2017; Carreira et al., 2018 and 2019.

    Args:
        root: Folder of the dataset, for instance `k400`.
        version: Which Kinetics.
        annotations: Folder of the lists, relative to the root or as it is; null looks in the root
            and in `annotations`.
        train_list: Another list of training videos (a smaller Kinetics, a downloaded part),
            relative to the root or as it is; null for the official one.
        val_list: Another list of validation videos.
        label_map: Names of the classes in label order, one a line or JSON; null sorts the names of
            the lists.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        ValueError: If arguments do not fit together.
    """

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
        self._rows: dict[Path, list[tuple[str, ...]]] = {}

    @cached_property
    def class_names(self) -> list[str]:
        """The classes in the order of the public label maps.

        Raises:
            ValueError: If there is no list or label map to take them from.
        """
        if self._label_map is not None:
            return read_label_map(self._resolve(self._label_map))
        path = self._list("train") or self._list("val")
        assert path is not None
        names = sorted({row[0] for row in self._read(path)})
        official = NUM_CLASSES[self.version]
        if len(names) != official:
            rank_zero_info(f"{path} names {len(names)} classes, {self.version} has {official}")
        return names

    def class_index(self) -> dict[str, int]:
        """The letters and digits of a class -> label: lists and label maps differ in the rest."""
        return index_of_letters(self.class_names)

    def official_counts(self) -> dict[Split, int]:
        """Videos in the official lists, for Kinetics-400; none where another list is given."""
        counts = COUNTS.get(self.version, {})
        return {split: count for split, count in counts.items() if self._given[split] is None}

    def read_split(self, split: Split) -> list[ListedVideo] | None:
        """The videos of a split; the validation videos are those that are reported."""
        if split == "test":
            return None
        path = self._list(split)
        if path is None:
            rank_zero_info("there is no list of training videos, so there is nothing to train on")
            return []
        rows = self._read(path)
        places = _Places(self.files, split, rows)
        letters = {name: letters_of(name) for name in {row[0] for row in rows}}
        seconds = _Seconds(path)
        names = [f"{row[1]}_{seconds[row[2]]}_{seconds[row[3]]}" for row in rows]
        labels = (letters[row[0]] for row in rows)
        return list(map(ListedVideo, places.find_all(names), labels, names))

    def setup(self, stage: str | None = None) -> None:
        """Read the splits, see `VideoDataModule.setup`."""
        super().setup(stage)
        self._rows.clear()

    def _read(self, path: Path) -> list[tuple[str, ...]]:
        """The rows of a list; kept until `setup` is done, as `class_names` needs them before."""
        if path not in self._rows:
            self._rows[path] = read_columns(path, COLUMNS, COLUMNS)
        return self._rows[path]

    def _list(self, split: Split) -> Path | None:
        """The list of a split; None where there is none for training."""
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
        """A list's path: relative to the root where it is there, else as given."""
        inside = self.root / listed
        return inside if inside.exists() else Path(listed)


class _Places:
    """Where the videos of a split may lie.

    Args:
        files: What lies below the root.
        split: Which folders to look in.
        rows: The list.
    """

    def __init__(self, files: FolderIndex, split: Split, rows: Sequence[tuple[str, ...]]) -> None:
        self._files = files
        self._rows = rows
        names = SPLIT_NAMES[split]
        self._folders = files.find_folders(
            [form.format(name) for form in VIDEO_FOLDERS for name in names] + ["videos", ""]
        )
        intact = files.stems(REPLACEMENTS).values()
        self._intact = {name[:ID_LENGTH]: f"{REPLACEMENTS}/{name}" for name in intact}
        self._known: dict[str, list[Contents]] = {}

    def find_all(self, names: Sequence[str]) -> list[str]:
        """Where each listed video lies; where it is not there, where it should.

        Args:
            names: File name of each, with times, without suffix.
        """
        found = []
        for name, row in zip(names, self._rows, strict=True):
            folders = self._known.get(row[0]) or self._look(row[0])
            for prefix, stems in folders:
                if (file := stems.get(name)) is not None:
                    found.append(prefix + file)
                    break
            else:
                found.append(self._find_by_id(row[1], folders) or f"{folders[0][0]}{name}.mp4")
        if not self._intact:
            return found
        return [self._intact.get(row[1], path) for row, path in zip(self._rows, found, strict=True)]

    def _find_by_id(self, youtube_id: str, folders: Sequence[Contents]) -> str | None:
        """Where a file lies that is named by the id alone, unless the id is listed twice."""
        for prefix, stems in folders:
            if youtube_id in stems and self._times_listed[youtube_id] == 1:
                return prefix + stems[youtube_id]
        return None

    @cached_property
    def _times_listed(self) -> Counter[str]:
        """How often each id is listed: a file named by its id alone tells not which one it is."""
        return Counter(row[1] for row in self._rows)

    def _look(self, video_class: str) -> list[Contents]:
        """The folders that may hold a class, with a slash behind, and what is in them."""
        inside = [f"{folder}/{video_class}".lstrip("/") for folder in self._folders]
        found = self._files.find_folders([*self._folders, *inside])
        known = [(f"{folder}/".lstrip("/"), self._files.stems(folder)) for folder in found]
        self._known[video_class] = known
        return known


class _Seconds(dict[str, str]):
    """Seconds as lists write them -> as file names do, each worked out once.

    Args:
        path: The list, for the message.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __missing__(self, written: str) -> str:
        try:
            self[written] = f"{int(float(written)):06d}"
        except (ValueError, OverflowError) as error:
            raise ValueError(
                f"{self._path} has the time {written!r}, which is no number of seconds; correct it"
            ) from error
        return self[written]
