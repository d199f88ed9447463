"""SomethingSomethingV1DataModule and V2: 174 ways of handling things, told apart by motion."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from datamodules.annotations.class_files import read_class_list, read_label_map
from datamodules.annotations.json_files import read_json_records
from datamodules.annotations.listed_videos import ListedVideos
from datamodules.annotations.search_folders import OfficialLists
from datamodules.annotations.text_files import read_lines
from datamodules.base import Split, VideoDataModule
from datamodules.errors import UserError

ClassOrder = Literal["sorted", "file"]
NUM_CLASSES = 174
SPLIT_NAMES: dict[Split, str] = {"train": "train", "val": "validation"}


class _SomethingSomethingDataModule(VideoDataModule):
    """Base of both versions: their files, and the reported validation list.

    The six classes of left and right, labels 86, 87, 93, 94, 166 and 167 in sorted order, are known
    by their names and never mirrored, as in SELFY's training.

    Args:
        root: Folder of the dataset.
        annotations: Folder of the lists.
        kwargs: Arguments of `VideoDataModule`.
    """

    reported_split = "val"
    video_folders: ClassVar[Sequence[str]]
    """Folders that may hold the videos, the likeliest first."""
    suffix: ClassVar[str]
    """Suffix of the videos as they are distributed."""

    def __init__(self, root: str, annotations: str | None, **kwargs: Any) -> None:
        super().__init__(root=root, **kwargs)
        self.annotations = annotations

    def read_split(self, split: Split) -> ListedVideos | None:
        """Read the videos of a split; results are reported on the validation videos."""
        path = None if split == "test" else self._list(split)
        if path is None:
            return None
        ids, classes = self._read_list(path)
        paths, found = self.files.locate(ids, self.video_folders, suffix=self.suffix)
        return ListedVideos(paths, classes, ids, found=found)

    @cached_property
    def lists(self) -> OfficialLists:
        """Folders of the annotation files.

        Raises:
            UserError: If the folder that was given is not there.
        """
        return OfficialLists(self.root, self.annotations, ("labels",))

    def _list(self, split: Split) -> Path | None:
        """Find the list of a split; None where there is none for training."""
        names = self._names_of(SPLIT_NAMES[split])
        return self.lists.find(names) if split == "train" else self.lists.get(names)

    @abstractmethod
    def _names_of(self, part: str) -> list[str]:
        """Names that the list of a split, or `labels`, may have."""

    @abstractmethod
    def _read_list(self, path: Path) -> Sequence[Sequence[str]]:
        """Read two columns: id and class of each video."""


class SomethingSomethingV1DataModule(_SomethingSomethingDataModule):
    """Something-Something V1 as it was downloaded; the validation videos are also the test set.

    Videos are frame folders, `20bn-something-something-v1/<id>/00001.jpg` and so on; files
    `<id>.webm` or with any other suffix will do too. Lists are
    `something-something-v1-{labels,train,validation}.csv`, `<id>;<class>` without a header; the
    test list has no classes and is not read. Goyal et al.: "The 'Something Something' Video
    Database for Learning and Evaluating Visual Common Sense", ICCV 2017.

    Args:
        root: Folder of the dataset: of `20bn-something-something-v1`, or that folder itself.
        class_order: Order of the labels: by the classes' sorted names, as in the lists of TSN, TSM
            and SELFY, or as in the file of labels, as in mmaction2. Weights find their classes by
            name, so either order takes checkpoints of the other.
        annotations: Folder of the lists, relative to the root or as it is; null looks in the root
            and in `annotations` and `labels`.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        UserError: If arguments do not fit together.
    """

    video_folders = ("20bn-something-something-v1", "frames", "rawframes", "videos", "")
    suffix = ""

    def __init__(
        self,
        root: str = "data/something-something-v1",
        class_order: ClassOrder = "sorted",
        annotations: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, annotations=annotations, **kwargs)
        self.class_order: ClassOrder = class_order

    @cached_property
    def class_names(self) -> list[str]:
        """The classes in the order that was asked for.

        Raises:
            UserError: If there is no file of labels.
        """
        names = list(read_class_list(self.lists.get(self._names_of("labels"))).values())
        return sorted(names) if self.class_order == "sorted" else names

    def official_counts(self) -> dict[Split, int]:
        """Count the videos in the official lists."""
        return {"train": 86017, "val": 11522}

    def _names_of(self, part: str) -> list[str]:
        return [f"something-something-v1-{part}.csv", f"{part}.csv"]

    def _read_list(self, path: Path) -> Sequence[Sequence[str]]:
        return _read_pairs(path)


class SomethingSomethingV2DataModule(_SomethingSomethingDataModule):
    """Something-Something V2 as it is downloaded; the validation videos are also the test set.

    Videos are `20bn-something-something-v2/<id>.webm`; frame folders `<id>` and other suffixes will
    do too. Lists are `something-something-v2-{labels,train,validation}.json`, or
    `labels/{labels,train,validation}.json` as they come now. The class of a video is its template
    without brackets; the test list has no templates and is not read. The validation list alone is
    enough for a test: without `labels`, the classes are those of the lists, sorted. Goyal et al.,
    ICCV 2017; Mahdisoltani et al.: "On the effectiveness of task granularity for transfer
    learning", 2018.

    Args:
        root: Folder of the dataset: of `20bn-something-something-v2`, or that folder itself.
        annotations: Folder of the lists, relative to the root or as it is; null looks in the root
            and in `annotations` and `labels`.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        UserError: If arguments do not fit together.
    """

    video_folders = (
        *("20bn-something-something-v2", "videos", "20bn-something-something-v2-frames"),
        *("rawframes", "frames", ""),
    )
    suffix = ".webm"

    def __init__(
        self,
        root: str = "data/something-something-v2",
        annotations: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, annotations=annotations, **kwargs)

    @cached_property
    def class_names(self) -> list[str]:
        """The classes in the order of the official ids, which is that of the alphabet.

        Without a file of labels, they are the classes of the lists that are there.

        Raises:
            UserError: If there is neither a file of labels nor a validation list.
        """
        labels = self.lists.find(self._names_of("labels"))
        if labels is not None:
            return read_label_map(labels)
        paths = [path for path in map(self._list, SPLIT_NAMES) if path is not None]
        names = sorted({name for path in paths for name in self._read_list(path)[1]})
        if len(names) != NUM_CLASSES:
            sentence = f"the lists name {len(names)} classes, Something-Something has {NUM_CLASSES}"
            self.remarks.add("classes", sentence)
        return names

    def official_counts(self) -> dict[Split, int]:
        """Count the videos in the official lists."""
        return {"train": 168913, "val": 24777}

    def _names_of(self, part: str) -> list[str]:
        return [f"something-something-v2-{part}.json", f"{part}.json"]

    def _read_list(self, path: Path) -> Sequence[Sequence[str]]:
        ids, templates = read_json_records(path, ("id", "template"))
        return ids, [template.replace("[", "").replace("]", "") for template in templates]


def _read_pairs(path: Path) -> Sequence[Sequence[str]]:
    """Read the columns of a list of `<id>;<class>`; classes may hold commas."""
    pairs = [line.partition(";") for line in read_lines(path)]
    invalid = next((name for name, mark, _ in pairs if not mark), None)
    if invalid is not None:
        raise UserError(
            f"{path} has the line {invalid!r}, but a line is <id>;<class>; correct it, or give the "
            "official list"
        )
    return [name.strip() for name, _, _ in pairs], [text.strip() for _, _, text in pairs]
