"""HMDB51DataModule: 51 actions from films and the web, 6,766 videos, three official splits."""

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from datamodules.annotations.listed_videos import ListedVideo, ListedVideos
from datamodules.annotations.search_folders import OfficialLists
from datamodules.annotations.text_files import read_lines
from datamodules.base import Split, VideoDataModule
from datamodules.errors import UserError

LIST_FOLDERS = ("testTrainMulti_7030_splits", "test_train_splits", "lists", "splits")
FOLDERS = ("hmdb51_org", "hmdb51", "videos", "rawframes", "frames", "")
VIDEO_FOLDERS = tuple(f"{folder}{below}" for folder in FOLDERS for below in ("/{}", ""))
FLAGS: dict[str, Split | None] = {"1": "train", "2": "test", "0": None}
"""Split by the flag behind a video in a list; None for videos that a split leaves unused."""

DESCRIPTION = r"_[a-z]+_[a-z]+_np\d+_[a-z]+_[a-z]+_\d+\.\w+"
"""End of a file name after the class: body part, camera, people, view, quality, number."""


class HMDB51DataModule(VideoDataModule):
    """HMDB51 as it is downloaded: `<class>/<name>.avi` and 51 lists for each split.

    Videos may lie in class folders or in one, as files or as frame folders, with any suffix.
    Validation videos are those of whole films (or web videos) in the training lists. Kuehne,
    Jhuang, Garrote, Poggio, Serre: "HMDB: A Large Video Database for Human Motion Recognition",
    ICCV 2011.

    Args:
        root: Folder of the dataset: of the class folders, or of `hmdb51_org`.
        split: Official split into training and test videos.
        annotations: Folder of the lists `<class>_test_split<split>.txt`, relative to the root or
            as it is; null looks in the root and in `testTrainMulti_7030_splits`.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        UserError: If arguments do not fit together.
    """

    official_splits = 3

    def __init__(
        self,
        root: str = "data/hmdb51",
        split: Literal[1, 2, 3] = 1,
        annotations: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        self.number = split
        self.annotations = annotations

    @cached_property
    def class_names(self) -> list[str]:
        """The classes that have a list, sorted.

        Raises:
            UserError: If there is no list.
        """
        return sorted(self._lists)

    def official_counts(self) -> dict[Split, int]:
        """Count the videos of each split: 70 and 30 of every class."""
        return {"train": 3570, "test": 1530}

    def read_split(self, split: Split) -> ListedVideos | None:
        """Read the videos of a split; there is no validation list."""
        if split == "val":
            return None
        listed = [
            (video_class, name)
            for video_class in self.class_names
            for name, used_in in _read_flags(self._lists[video_class])
            if used_in == split
        ]
        classes, names = [video_class for video_class, _ in listed], [name for _, name in listed]
        paths, found = self.files.locate(names, VIDEO_FOLDERS, classes)
        return ListedVideos(paths, classes, list(map("/".join, listed)), found=found)

    def group_of(self, video: ListedVideo) -> str:
        """Name the film of a video, over all classes: the part of its name before the class.

        Raises:
            UserError: If the name has no such part.
        """
        name = video.video_id.rpartition("/")[2]
        found = re.fullmatch(rf"(.+)_{re.escape(video.label)}{DESCRIPTION}", name)
        if found is None:
            raise UserError(
                f"the name of {video.video_id} does not tell its film, so it cannot be held out "
                "with its film; correct the list, or set data.val_fraction=0"
            )
        return found[1]

    @cached_property
    def _lists(self) -> dict[str, Path]:
        """List of the chosen split by class."""
        lists = OfficialLists(self.root, self.annotations, LIST_FOLDERS)
        ending = f"_test_split{self.number}.txt"
        for folder in lists.folders:
            found = {path.name.removesuffix(ending): path for path in folder.glob(f"*{ending}")}
            if found:
                return found
        raise lists.error(f"<class>{ending}")


def _read_flags(path: Path) -> list[tuple[str, Split | None]]:
    """Read the name of each video in a list, and the split it belongs to."""
    fields = [line.rsplit(maxsplit=1) for line in read_lines(path)]
    for field in fields:
        if len(field) < 2 or field[1] not in FLAGS:
            raise UserError(
                f"{path} has the line {' '.join(field)!r}, but a line is a file name and 0, 1 or "
                "2; correct it"
            )
    return [(name, FLAGS[flag]) for name, flag in fields]
