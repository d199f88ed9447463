"""CharadesDataModule: 157 actions at home, several of them in every video."""

import re
from functools import cached_property
from typing import Any

from datamodules.annotations.label_form import SEPARATOR, LabelForm
from datamodules.annotations.listed_videos import ListedVideo, ListedVideos
from datamodules.annotations.search_folders import OfficialLists
from datamodules.annotations.text_files import read_columns, read_lines
from datamodules.base import Split, VideoDataModule
from datamodules.errors import UserError

NUM_CLASSES = 157
VIDEO_FOLDERS = (
    *("Charades_v1_480", "Charades_v1", "Charades_v1_rgb"),
    *("videos", "rawframes", "frames", ""),
)
COLUMNS = ("id", "subject", "actions")
"""Those that are read of the eleven of the lists."""


class CharadesDataModule(VideoDataModule):
    """Charades as it is downloaded: `Charades_v1_480/<id>.mp4`, labels of whole videos.

    Videos may have any suffix or be frame folders (`Charades_v1_rgb/<id>/`). Lists are
    `Charades_v1_train.csv` and `Charades_v1_test.csv`, classes `Charades_v1_classes.txt`. A video
    shows all actions that it is annotated with, wherever its clips lie; the times are not used.
    Validation videos are those of whole persons in the training list. As in the official evaluation
    no score counts the test videos without an action. Sigurdsson et al.: "Hollywood in Homes:
    Crowdsourcing Data Collection for Activity Understanding", ECCV 2016.

    Args:
        root: Folder of the dataset.
        annotations: Folder of the lists, relative to the root or as it is; null looks in the root
            and in `annotations` and `Charades`.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        UserError: If arguments do not fit together.
    """

    def __init__(
        self, root: str = "data/charades", annotations: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(root=root, **kwargs)
        self.annotations = annotations
        self._subjects: dict[str, str] = {}

    @property
    def label_form(self) -> LabelForm:
        """Any number of actions; where none is annotated, nobody said what there is."""
        return LabelForm("multi", unlabelled="left_out")

    @cached_property
    def class_names(self) -> list[str]:
        """The actions, such as `Holding some clothes`, in the order of their ids.

        Raises:
            UserError: If there is no list of classes, or it is another.
        """
        path = self._lists.get(["Charades_v1_classes.txt"])
        found = [re.fullmatch(r"c(\d{3}) (\S.*)", line) for line in read_lines(path)]
        ids = [int(match[1]) for match in found if match]
        names = [match[2] for match in found if match]
        if ids != list(range(len(found))) or len(set(names)) < len(names) or not names:
            raise UserError(
                f"{path} must hold a class a line, `c000 NAME` and on, each name once; give the "
                "official list"
            )
        if len(names) != NUM_CLASSES:
            sentence = f"{path} names {len(names)} classes, the official list {NUM_CLASSES}"
            self.remarks.add("classes", sentence)
        return names

    def class_index(self) -> dict[str, int]:
        """Map classes as the lists write them, `c000` and on, to labels."""
        return {f"c{label:03d}": label for label in range(self.num_classes)}

    def official_counts(self) -> dict[Split, int]:
        """Count the videos in the official lists."""
        return {"train": 7985, "test": 1863}

    def read_split(self, split: Split) -> ListedVideos | None:
        """Read the videos of a split; there is no validation list."""
        if split == "val":
            return None
        path = self._lists.get([f"Charades_v1_{split}.csv"])
        ids, subjects, actions = read_columns(path, COLUMNS, COLUMNS)
        self._subjects.update(zip(ids, subjects, strict=True))
        paths, found = self.files.locate(ids, VIDEO_FOLDERS, suffix=".mp4")
        return ListedVideos(paths, list(map(_classes_of, actions)), ids, found=found)

    def group_of(self, video: ListedVideo) -> str:
        """Name the person in a video."""
        return self._subjects.get(video.video_id) or video.video_id

    @cached_property
    def _lists(self) -> OfficialLists:
        return OfficialLists(self.root, self.annotations, ("Charades",))


def _classes_of(actions: str) -> str:
    """List the classes of a video, each once: of `c092 11.90 21.20;c147 0.00 12.60`, c092;c147."""
    classes = (action.split(maxsplit=1)[0] for action in actions.split(SEPARATOR) if action.strip())
    return SEPARATOR.join(dict.fromkeys(classes))
