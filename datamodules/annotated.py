"""AnnotatedDataset: classes, lists, editions and groups of a dataset, without any loading."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from datamodules.annotations.folder_index import FolderIndex
from datamodules.annotations.label_form import SINGLE, LabelForm
from datamodules.annotations.listed_videos import SPLITS, ListedVideo, ListedVideos, Split
from datamodules.annotations.remarks import Remarks
from datamodules.annotations.splits import (
    Lists,
    describe_test_split,
    divide,
    held_out_videos,
    report_missing,
)
from datamodules.annotations.table import PackedStrings, make_table
from datamodules.augmentation.mirrors import ClassInfo, told_by_names
from datamodules.clips.figures import FigureSource
from datamodules.errors import UserError
from datamodules.storage.elsewhere.remote_packs import open_dataset
from datamodules.storage.packed import PackedPath
from datamodules.storage.source import Source


class AnnotatedDataset(ABC):
    """A dataset as its annotation describes it.

    Attributes:
        root: Folder of the dataset.
        val_fraction: Share of each class's training videos that is held out where there is no
            validation list.
        seed: Seed of that draw.
        allow_missing: Accept that no listed file is there.
        remarks: Facts worth knowing that were met.
    """

    root: Path
    val_fraction: float
    seed: int
    allow_missing: bool
    remarks: Remarks
    reported_split: ClassVar[Split] = "test"
    """Split that the field reports: `val` where the test videos have no public labels."""
    official_splits: ClassVar[int] = 1
    """Number of ways in which the dataset's authors divide the same videos."""
    number: int = 1
    """The official split, from 1 on."""

    @cached_property
    @abstractmethod
    def class_names(self) -> list[str]:
        """Names of the classes in label order; known before any video is looked at."""

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)

    @property
    def label_form(self) -> LabelForm:
        """The form of the labels: one class of all, unless the dataset says otherwise."""
        return SINGLE

    @cached_property
    def class_info(self) -> ClassInfo:
        """The classes; those whose names differ in a direction are never mirrored."""
        return told_by_names(self.class_names)

    @property
    def edition(self) -> str:
        """Version, label set or official split of the dataset; empty where it has one."""
        return f"split {self.number}" if self.official_splits > 1 else ""

    @property
    def other_splits(self) -> list[str]:
        """Editions whose training videos are, in part, the test videos of this one."""
        numbers = range(1, self.official_splits + 1) if self.official_splits > 1 else ()
        return [f"split {number}" for number in numbers if number != self.number]

    @property
    def dataset_name(self) -> str:
        """The dataset and its edition, such as `UCF101 split 1`."""
        return self._name_of(self.edition)

    @property
    def seen_by(self) -> tuple[str, ...]:
        """Names of data whose training videos are, in part, the test videos of this."""
        return tuple(map(self._name_of, self.other_splits))

    def _name_of(self, edition: str) -> str:
        return f"{type(self).__name__.removesuffix('DataModule')} {edition}".rstrip()

    @property
    def figures(self) -> FigureSource | None:
        """Source of what moves in each video; None where the dataset does not know it."""
        return None

    @abstractmethod
    def read_split(self, split: Split) -> ListedVideos | None:
        """Read the listed videos of a split; None where the dataset has no such list."""

    def class_index(self) -> dict[str, int]:
        """Map classes as the annotation writes them to labels."""
        return {name: label for label, name in enumerate(self.class_names)}

    def official_counts(self) -> dict[Split, int]:
        """Count the videos in the official lists of the chosen version, where that is known.

        A validation part that is held out of the training list counts as training.
        """
        return {}

    @cached_property
    def files(self) -> FolderIndex:
        """Index of the files below the root, kept while the splits are read."""
        return FolderIndex(self.store)

    @cached_property
    def store(self) -> Source:
        """Place where the videos lie under their paths: the root, or the shards it is packed in.

        Raises:
            UserError: If a packed dataset cannot be read.
        """
        return open_dataset(self.root)

    @property
    def place(self) -> str:
        """Path or address of the dataset, as records have it."""
        packed = self.store if isinstance(self.store, PackedPath) else None
        return str(packed.place if packed else self.root.absolute())

    def group_of(self, video: ListedVideo) -> str:
        """Name a video's group, never divided between train and val; by default the video."""
        return video.video_id

    def source_of(self, video: ListedVideo) -> str:
        """Name the scene, source video or person that a video's likes are alike in.

        By default its group; empty where that is no more than the video itself.
        """
        group = self.group_of(video)
        return "" if group == video.video_id else group

    def sources_of(self, videos: Iterable[ListedVideo]) -> list[str]:
        """Name the source of each video; empty, too, where a name does not tell it."""
        sources = []
        for video in videos:
            try:
                sources.append(self.source_of(video))
            except UserError:  # of a name that tells no group, which only holding out needs
                sources.append("")
        return sources

    def listed(self, split: Split) -> ListedVideos | None:
        """Read the listed videos of a split, none of them outside the root."""
        videos = self.read_split(split)
        return None if videos is None else videos.inside(self.root)

    def read_lists(self) -> Lists:
        """Read the annotation, divide it into splits, and look for the files.

        Raises:
            UserError: If none of the listed files is there, or a video is in training and in
                another split.
        """
        before = len(self.remarks.made)
        lists = {split: self.listed(split) for split in SPLITS}
        splits = divide(
            lists, self.official_counts(), self._hold_out, self.val_fraction > 0, self.remarks
        )
        index, form = self.class_index(), self.label_form
        tables = {
            split: make_table(self.root, videos, index, self.files, form)
            for split, videos in splits.items()
        }
        for split, table in tables.items():
            report_missing(split, table, self.root, self.allow_missing, self.remarks)
        name = describe_test_split(lists, self.reported_split)
        found = Lists(tables, PackedStrings(self.sources_of(splits["test"])), name)
        self.learn(found)
        found.remarks = self.remarks.made[before:]
        del self.files  # a million names that no forked worker should carry
        return found

    def learn(self, lists: Lists) -> None:
        """Add to the facts that are kept with lists; what a dataset knows by reading them alone.

        Args:
            lists: What the lists say.
        """
        lists.facts["class_names"] = self.class_names

    def take_facts(self, facts: Mapping[str, Any]) -> None:
        """Know what was learned when the lists were read.

        Args:
            facts: See `learn`.
        """
        vars(self).setdefault("class_names", facts["class_names"])

    def _hold_out(self, train: ListedVideos) -> tuple[ListedVideos, ListedVideos]:
        """Divide train into train and val, as a function of the seed."""
        groups = [self.group_of(video) for video in train] if self.val_fraction else []
        names = {written: self.class_names[i] for written, i in self.class_index().items()}
        return held_out_videos(train, groups, self.val_fraction, self.seed, names, self.label_form)
