"""AnnotatedDataset: classes, lists, editions and groups of a dataset, without any loading."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from datamodules.annotations.folder_index import FolderIndex
from datamodules.annotations.label_form import SINGLE, LabelForm
from datamodules.annotations.listed_videos import ListedVideo, ListedVideos, Split
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
    """

    root: Path
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
