"""UCF101DataModule: 101 actions, 13,320 videos, three official splits."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from datamodules.annotations.class_files import index_of_letters, read_class_list
from datamodules.annotations.listed_videos import ListedVideo, ListedVideos
from datamodules.annotations.remarks import Remarks
from datamodules.annotations.search_folders import OfficialLists
from datamodules.annotations.video_lists import read_video_list
from datamodules.base import Split, VideoDataModule
from datamodules.errors import UserError
from datamodules.video.suffixes import letters_of, stem_of

LIST_FOLDERS = ("ucfTrainTestlist", "lists", "splits")
FOLDERS = ("UCF-101", "videos", "rawframes", "frames", "jpegs_256", "")
VIDEO_FOLDERS = tuple(f"{folder}{below}" for folder in FOLDERS for below in ("/{}", ""))
COUNTS: dict[int, tuple[int, int]] = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}
"""Videos of the train and test list of each split."""


class UCF101DataModule(VideoDataModule):
    """UCF101 as it is downloaded: `UCF-101/<Class>/v_<Class>_gNN_cNN.avi` and its lists.

    Videos may lie in class folders or in one, as files or as frame folders, with any suffix.
    Validation videos are whole groups `gNN` (scenes) of the training list. Soomro, Zamir, Shah:
    "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild", 2012.

    Args:
        root: Folder of the dataset: of `UCF-101`, or that folder itself.
        split: Official split into training and test videos.
        annotations: Folder of `classInd.txt`, `trainlist0N.txt` and `testlist0N.txt`, relative to
            the root or as it is; null looks in the root and in `ucfTrainTestlist`.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        UserError: If arguments do not fit together.
    """

    official_splits = 3

    def __init__(
        self,
        root: str = "data/ucf101",
        split: Literal[1, 2, 3] = 1,
        annotations: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        self.number = split
        self.annotations = annotations

    @cached_property
    def class_names(self) -> list[str]:
        """The classes in the order of `classInd.txt`.

        Raises:
            UserError: If there is no such file.
        """
        return list(self._classes.values())

    def class_index(self) -> dict[str, int]:
        """Map classes as the lists write them, numbers or letters of folders, to labels."""
        numbers = {written: label for label, written in enumerate(self._classes)}
        return numbers | index_of_letters(self.class_names)

    def official_counts(self) -> dict[Split, int]:
        """Count the videos in the lists of the chosen split."""
        train, test = COUNTS[self.number]
        return {"train": train, "test": test}

    def read_split(self, split: Split) -> ListedVideos | None:
        """Read the videos of a split; there is no validation list."""
        if split == "val":
            return None
        path = self._lists.get([f"{split}list{self.number:02d}.txt"])
        listed = read_video_list(path).inside(self.root)
        names = [path.rpartition("/")[2] for path in listed.paths]
        folders = [path.rpartition("/")[0] for path in listed.paths]
        paths, found = self.files.locate(names, VIDEO_FOLDERS, folders, any_case=True)
        _report_respelled(split, listed.video_ids, paths, self.remarks)
        labels = [_written(label) for label in listed.labels]
        return ListedVideos(paths, labels, listed.video_ids, found=found)

    def group_of(self, video: ListedVideo) -> str:
        """Name the group `gNN` of a video, over all classes as in the official splits.

        Raises:
            UserError: If the name has none.
        """
        found = re.search(r"_(g\d+)_c\d+", video.video_id)
        if found is None:
            raise UserError(
                f"{video.path} has no group gNN in its name, so it cannot be held out with its "
                "group; correct the list, or set data.val_fraction=0"
            )
        return found[1]

    def source_of(self, video: ListedVideo) -> str:
        """Name the scene of a video, `v_<Class>_gNN`: groups of two classes are not one scene."""
        group = self.group_of(video)
        name = video.video_id.rpartition("/")[2]
        return name[: name.index(f"_{group}_")] + f"_{group}"

    @cached_property
    def _lists(self) -> OfficialLists:
        return OfficialLists(self.root, self.annotations, LIST_FOLDERS)

    @cached_property
    def _classes(self) -> dict[str, str]:
        return read_class_list(self._lists.get(["classInd.txt"]))


def _written(label: str) -> str:
    """Write a class as `class_index` does."""
    return label if label.isdecimal() else letters_of(label)


def _report_respelled(
    split: Split, listed: Sequence[str], paths: Sequence[str], remarks: Remarks
) -> None:
    """Remark once on files with other capitals than listed, as HandstandPushups in many copies."""
    names = [[path.rpartition("/")[2] for path in column] for column in (listed, paths)]
    pairs = zip(*names, strict=True)
    respelled = [(ours, theirs) for ours, theirs in pairs if stem_of(ours) != stem_of(theirs)]
    if respelled:
        remarks.add(
            "names",
            f"{split}: {len(respelled)} listed videos have other capitals in their file names, "
            f"such as {respelled[0][1]} for {respelled[0][0]}",
        )
