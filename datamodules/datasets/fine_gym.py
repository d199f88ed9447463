"""FineGymDataModule: elements of gymnastics, seconds long, out of hours of competitions."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from datamodules.annotations.json_files import read_json_entries
from datamodules.annotations.listed_videos import ListedVideo, ListedVideos
from datamodules.annotations.search_folders import OfficialLists
from datamodules.annotations.text_files import read_lines
from datamodules.base import Split, VideoDataModule
from datamodules.errors import UserError
from datamodules.video.suffixes import has_video_suffix

Version = Literal["v1.0", "v1.1"]

COUNTS: dict[tuple[int, Version], dict[Split, int]] = {
    (99, "v1.0"): {"train": 20484, "val": 8521},
    (99, "v1.1"): {"train": 26320, "val": 8521},
    (288, "v1.0"): {"train": 22671, "val": 9646},
    (288, "v1.1"): {"train": 29334, "val": 9646},
}
"""Elements in the lists of each number of classes and version."""
ELEMENT_FOLDERS = ("subactions", "subaction_frames", "rawframes", "frames", "videos", "")
EVENT_FOLDERS = ("events", "actions", "videos", "")
FULL_FOLDERS = ("videos", "raw", "full", "raw_videos", "raw_finegym_videos", "")


class FineGymDataModule(VideoDataModule):
    """FineGym's Gym99 or Gym288; the validation elements are also the test set.

    A listed element, `<YouTube id>_E_<start>_<end>_A_<start>_<end>`, lies in a cut file (or frame
    folder) of that name, else in that of its event, `<YouTube id>_E_<start>_<end>.mp4`, else in the
    whole `<YouTube id>.mp4`, of which the element's seconds alone are then read. Those are taken
    from `finegym_annotation_info_<version>.json`; where that is not there, they are the whole
    seconds of the name, the last one included. Lists are `gym<classes>_val_element.txt`,
    `gym<classes>_train_element_<version>.txt` and `gym<classes>_categories.txt`. Shao, Zhao, Dai,
    Lin: "FineGym: A Hierarchical Video Dataset for Fine-grained Action Understanding", CVPR 2020.

    Args:
        root: Folder of the dataset: of `subactions`, `events` or `videos`.
        classes: Number of classes: 99, balanced, or 288, with a long tail.
        version: Version of the training list; the second is longer. A result must name it.
        annotations: Folder of the lists, relative to the root or as it is; null looks in the root
            and in `annotations`.
        kwargs: Arguments of `VideoDataModule`.

    Raises:
        UserError: If arguments do not fit together.
    """

    reported_split = "val"

    def __init__(
        self,
        root: str = "data/finegym",
        classes: Literal[99, 288] = 99,
        version: Version = "v1.0",
        annotations: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        self.classes = classes
        self.version: Version = version
        self.annotations = annotations

    @property
    def edition(self) -> str:
        """Number of classes, and version of the training list."""
        return f"{self.classes} classes {self.version}"

    @cached_property
    def class_names(self) -> list[str]:
        """The elements in the order of their class ids; equal names of two sets name the set.

        Raises:
            UserError: If there is no file of categories.
        """
        return _read_categories(self._lists.get([f"gym{self.classes}_categories.txt"]))

    def class_index(self) -> dict[str, int]:
        """Map classes as the lists write them, numbers from 0, to labels."""
        return {str(label): label for label in range(self.num_classes)}

    def official_counts(self) -> dict[Split, int]:
        """Count the elements in the lists of the chosen version."""
        return COUNTS[self.classes, self.version]

    def read_split(self, split: Split) -> ListedVideos | None:
        """Read the elements of a split; results are reported on the validation elements."""
        if split == "test":
            return None
        path = self._list(split)
        fields = [line.rsplit(maxsplit=1) for line in read_lines(path)]
        invalid = next((field[0] for field in fields if len(field) < 2), None)
        if invalid is not None:
            raise UserError(
                f"{path} has the line {invalid!r}, but a line is <clip id> <class id>; correct it, "
                "or give the official list"
            )
        ids, labels = [name for name, _ in fields], [label for _, label in fields]
        paths, found = self.files.locate(ids, ELEMENT_FOLDERS, suffix=".mp4")
        starts = np.full(len(ids), np.nan, np.float32)
        ends = starts.copy()
        self._cut(split, ids, paths, found, starts, ends)
        return ListedVideos(paths, labels, ids, starts, ends, found)

    def group_of(self, video: ListedVideo) -> str:
        """Name the YouTube video of an element; the official splits divide some of them."""
        return _Clip.parse(video.video_id).video

    def _cut(
        self,
        split: Split,
        ids: Sequence[str],
        paths: list[str],
        found: NDArray[np.bool_],
        starts: NDArray[np.float32],
        ends: NDArray[np.float32],
    ) -> None:
        """Find missing elements in their events or whole videos; fill in their paths and times."""
        clips = {i: _Clip.parse(ids[i]) for i in np.flatnonzero(~found).tolist()}
        sources: dict[int, tuple[str, bool]] = {}
        for folders, whole in ((EVENT_FOLDERS, False), (FULL_FOLDERS, True)):
            rest = [i for i in clips if i not in sources]
            names = [clips[i].video if whole else clips[i].event for i in rest]
            files, there = self.files.locate(names, folders, suffix=".mp4")
            sources |= {
                rest[k]: (files[k], whole)
                for k in np.flatnonzero(there).tolist()
                # a frame folder does not tell the time of its frames
                if has_video_suffix(files[k])
            }
        if not sources:
            return
        info = self._times
        if info is None:
            self.remarks.add(
                "times",
                f"{split}: no finegym_annotation_info_{self.version}.json, so elements are cut out "
                "by the whole seconds of their names",
            )
        for i, (path, whole) in sources.items():
            paths[i], found[i] = path, True
            starts[i], ends[i] = (
                clips[i].seconds(whole)
                if info is None
                else _seconds(info, self.version, ids[i], clips[i], whole)
            )

    def _list(self, split: Split) -> Path:
        """Find the list of a split."""
        prefix = f"gym{self.classes}_{split}"
        if split == "val":
            return self._lists.get([f"{prefix}_element.txt", f"{prefix}_org.txt"])
        names = [f"{prefix}_element_{self.version}.txt"]
        if self.version == "v1.0":
            names.append(f"{prefix}_org.txt")
        other = "v1.1" if self.version == "v1.0" else "v1.0"
        if self._lists.find(names) is None and self._lists.find([f"{prefix}_element_{other}.txt"]):
            raise UserError(
                f"there is no {names[0]}, but {prefix}_element_{other}.txt; set "
                f"data.version={other}, or download the list of {self.version}"
            )
        return self._lists.get(names)

    @cached_property
    def _times(self) -> dict[str, Any] | None:
        """Events by YouTube id; None where there is no such file."""
        names = [f"finegym_annotation_info_{self.version}.json", "annotation.json"]
        path = self._lists.find(names)
        if path is None:
            return None
        return {key: events for key, events in read_json_entries(path) if key is not None}

    @cached_property
    def _lists(self) -> OfficialLists:
        return OfficialLists(self.root, self.annotations, ())


class _Clip(NamedTuple):
    """The parts of a clip id.

    Attributes:
        video: The YouTube id, which may hold `_`.
        event_key: The event, `E_<start>_<end>`.
        element_key: The element, `A_<start>_<end>`.
    """

    video: str
    event_key: str
    element_key: str

    @classmethod
    def parse(cls, clip_id: str) -> Self:
        """Cut a clip id from the right."""
        found = re.fullmatch(r"(.+)_(E_\d+_\d+)_(A_\d+_\d+)", clip_id)
        if found is None:
            raise UserError(
                f"{clip_id!r} is no <YouTube id>_E_<start>_<end>_A_<start>_<end>; correct the "
                "list, or give the official one"
            )
        return cls(found[1], found[2], found[3])

    @property
    def event(self) -> str:
        """Name of the event's file."""
        return f"{self.video}_{self.event_key}"

    def seconds(self, whole: bool) -> tuple[float, float]:
        """Read start and end in the event's file or the whole video from the id alone."""
        start, end = map(int, self.element_key.split("_")[1:])
        offset = int(self.event_key.split("_")[1]) if whole else 0
        return offset + start, offset + end + 1


def _seconds(
    info: dict[str, Any], version: str, clip_id: str, clip: _Clip, whole: bool
) -> tuple[float, float]:
    """Look up start and end in the event's file or the whole video in the annotation file."""
    try:
        event = info[clip.video][clip.event_key]
        stages = event["segments"][clip.element_key]["timestamps"]
        offset = float(event["timestamps"][0][0]) if whole else 0.0
        return offset + float(stages[0][0]), offset + float(stages[-1][1])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f"the annotation file of FineGym {version} has no times of {clip_id}; give that of the "
            "same version as the list, or leave it out to cut by whole seconds"
        ) from error


def _read_categories(path: Path) -> list[str]:
    """Read class names by label from `Clabel: 0; set: 1; Glabel: 6; (VT) round-off, ...`."""
    form = re.compile(r"Clabel:\s*(\d+);\s*set:\s*(\d+);\s*Glabel:\s*\d+;\s*(.+)")
    lines = read_lines(path)
    found = [match for match in map(form.fullmatch, lines) if match]
    classes = {int(match[1]): (match[3], match[2]) for match in found}
    if len(found) < len(lines) or not lines or sorted(classes) != list(range(len(lines))):
        raise UserError(
            f"{path} must hold one class a line, Clabel: <id>; set: <id>; Glabel: <id>; <name>, "
            "with ids from 0; give the official file"
        )
    listed = Counter(name for name, _ in classes.values())
    return [
        f"{name} [set {number}]" if listed[name] > 1 else name
        for name, number in (classes[label] for label in range(len(lines)))
    ]
