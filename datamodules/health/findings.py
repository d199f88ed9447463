"""The health of a dataset: its listed videos, their decode results, and findings about both."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.annotations.listed_videos import SPLITS, Split
from datamodules.annotations.splits import without_collector
from datamodules.annotations.table import VideoTable, make_table
from datamodules.base import VideoDataModule
from datamodules.health.decode_check import DecodeResult, Part
from datamodules.storage.source import Place

Level = Literal["fatal", "warning", "note"]
LEVELS: tuple[Level, ...] = ("fatal", "warning", "note")
MAX_EXAMPLES = 10
"""Names that a finding gives."""

MAX_SHOWN = 4
"""Videos that a finding shows."""

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Finding:
    """One thing that is worth knowing before a dataset is used.

    Attributes:
        level: `fatal` where a training would fail or its result would be wrong, `warning` where it
            would suffer, `note` for what is merely good to know.
        check: Short name of the kind of finding.
        sentence: The finding, its meaning, and the remedy.
        examples: Some of the videos or classes that it is about.
        shown: The videos of the first examples, if it is about how videos look.
    """

    level: Level
    check: str
    sentence: str
    examples: Sequence[str] = ()
    shown: Sequence[Part] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", tuple(self.examples[:MAX_EXAMPLES]))
        object.__setattr__(self, "shown", tuple(self.shown[:MAX_SHOWN]))

    def as_dict(self) -> dict[str, Any]:
        """Convert to plain values, for other programs."""
        return {
            "level": self.level,
            "check": self.check,
            "sentence": self.sentence,
            "examples": list(self.examples),
        }


@dataclass(frozen=True)
class ListedSplit:
    """The videos of one of a dataset's own lists, before anything is held out of it.

    Attributes:
        name: Name of the split.
        root: Folder that the table's paths are relative to.
        table: Its videos.
        groups: Group of each video, not to be divided, (N,); each video by itself where the
            dataset knows no groups.
        results: Decode results, for the videos that were decoded.
    """

    name: Split
    root: Place
    table: VideoTable
    groups: Sequence[str]
    results: Mapping[Part, DecodeResult] = field(default_factory=dict, compare=False)

    def parts(self) -> Iterator[Part]:
        """Yield the file, or the stretch of it, that each video is."""
        table, folder = self.table, os.path.join(str(self.root), "")
        columns = (table.paths, table.starts.tolist(), table.ends.tolist())
        for path, start, end in zip(*columns, strict=True):
            yield Part(
                folder + path,
                None if math.isnan(start) else start,
                None if math.isnan(end) else end,
            )

    def present_paths(self) -> dict[int, str]:
        """Map positions in the list to paths relative to the root, for videos that are there."""
        paths = list(self.table.paths)
        return {index: paths[index] for index in self.table.present.tolist()}

    def sample(self, count: int | None) -> list[int]:
        """Choose positions of videos that are there, evenly spread over the list.

        A larger sample holds a smaller one, so that decoding can go on where it stopped.

        Args:
            count: Number of positions; None for all.
        """
        present = self.table.present
        order = np.argsort(np.arange(len(present)) * _GOLDEN % 1, kind="stable")
        return [int(index) for index in np.sort(present[order[:count]])]

    @cached_property
    def decoded(self) -> dict[int, DecodeResult]:
        """Decode results by position in the list."""
        known = ((index, self.results.get(part)) for index, part in enumerate(self.parts()))
        return {index: result for index, result in known if result is not None}

    @property
    def broken(self) -> dict[int, DecodeResult]:
        """Those that cannot be decoded."""
        return {i: result for i, result in self.decoded.items() if result.verdict is not None}

    @property
    def is_complete(self) -> bool:
        """True if every video that is there was decoded."""
        return len(self.decoded) == len(self.table.present)

    def per_class(self, num_classes: int) -> NDArray[np.int64]:
        """Count each class's videos that are there and not known to be broken, (num_classes,)."""
        usable = np.setdiff1d(self.table.present, list(self.broken), assume_unique=True)
        return self.table.class_counts(usable, num_classes)


def count_of(number: int, noun: str, plural: str | None = None) -> str:
    """Format a number and its noun, such as "1 video" or "1,200 videos".

    Args:
        number: The number.
        noun: Singular of the noun.
        plural: Its plural; None to add an s.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or f'{noun}s'}"


def read_lists(data: VideoDataModule) -> list[ListedSplit]:
    """Read the splits of a dataset as its lists have them, each list once.

    Args:
        data: The dataset; it is not set up.

    Raises:
        UserError: If a list is missing, or cannot be read.
    """
    class_index = data.class_index()
    found: list[ListedSplit] = []
    with without_collector():
        for name in SPLITS:
            videos = data.read_split(name)
            if videos is not None:
                videos = videos.inside(data.root)
                table = make_table(data.root, videos, class_index, data.files, data.label_form)
                groups = [data.group_of(video) for video in videos]
                found.append(ListedSplit(name, data.store, table, groups))
    return found
