"""VideoTable: a million listed videos as arrays that workers share."""

import copy
import hashlib
import math
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.annotations.folder_index import FolderIndex
from datamodules.annotations.label_form import SINGLE, LabelForm
from datamodules.annotations.listed_videos import ListedVideos
from datamodules.atomic import writing_binary
from datamodules.csv_tables import write_rows
from datamodules.errors import UserError


class PackedStrings(Sequence[str]):
    """An immutable sequence of strings kept in two arrays.

    Args:
        strings: The strings, in order.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        listed = strings if isinstance(strings, list) else list(strings)
        text = "".join(listed)
        blob = bytearray(text.encode("utf-8", "surrogateescape"))
        sizes: Iterable[int] = map(len, listed)
        if len(blob) > len(text):
            sizes = (len(s.encode("utf-8", "surrogateescape")) for s in listed)
        ends = np.cumsum(np.fromiter(sizes, np.int64, len(listed)))
        self._blob: Tensor = torch.frombuffer(blob or bytearray(1), dtype=torch.uint8)
        self._offsets: Tensor = torch.from_numpy(np.concatenate([np.zeros(1, np.int64), ends]))

    @classmethod
    def of(cls, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Self:
        """Make them of their arrays.

        Args:
            blob: The bytes of all strings.
            offsets: Where each begins, and the last one ends.
        """
        strings = cls(())
        strings._blob, strings._offsets = torch.from_numpy(blob), torch.from_numpy(offsets)
        return strings

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside the {len(self)} strings")
        index %= len(self)
        start, end = int(self._offsets[index]), int(self._offsets[index + 1])
        return self._blob[start:end].numpy().tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        blob = self._blob.numpy().tobytes()
        offsets = self._offsets.tolist()
        text = blob.decode("utf-8", "surrogateescape")
        if len(text) == len(blob):
            yield from (text[start:end] for start, end in pairwise(offsets))
        else:
            for start, end in pairwise(offsets):
                yield blob[start:end].decode("utf-8", "surrogateescape")

    @property
    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes of all strings, and where each begins and the last one ends."""
        return self._blob.numpy(), self._offsets.numpy()

    def __repr__(self) -> str:
        return f"PackedStrings({len(self)} strings)"


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array to a file that appears complete or not at all.

    Args:
        path: The file.
        array: The array.
    """
    with writing_binary(path) as file:
        np.save(file, array)


class VideoTable:
    """The listed videos of one split.

    Args:
        video_ids: Name of each video, unique, stable between machines, N of them.
        paths: Path of each video, relative to the dataset's root.
        labels: Class of each video, (N,) int64, 0-based; where a video may have several, a mark for
            each of K classes, (N, K) uint8.
        present: Positions of the videos whose file was found, increasing, (M,) int64.
        starts: Start of each video in its file, in seconds, (N,) float32, NaN for the file's
            start; None for whole files only.
        ends: End of each, likewise.
    """

    def __init__(
        self,
        video_ids: PackedStrings,
        paths: PackedStrings,
        labels: NDArray[np.int64] | NDArray[np.uint8],
        present: NDArray[np.int64],
        starts: NDArray[np.float32] | None = None,
        ends: NDArray[np.float32] | None = None,
    ) -> None:
        self.video_ids = video_ids
        self.paths = paths
        # tensors, not arrays: those are copied into every worker that is not forked
        self._num_classes = labels.shape[1] if labels.ndim == 2 else None
        packed = labels if self._num_classes is None else np.packbits(labels, axis=1)
        self._labels = torch.from_numpy(packed)
        self._present = torch.from_numpy(present)
        whole = torch.full((1,), math.nan).expand(len(paths))
        self._starts = whole if starts is None else torch.from_numpy(starts)
        self._ends = whole if ends is None else torch.from_numpy(ends)
        self._kept_in: tuple[Path, str] | None = None

    def __len__(self) -> int:
        return len(self.video_ids)

    def keep(self, folder: Path, name: str) -> None:
        """Write the table's arrays to files.

        Args:
            folder: Folder of the files.
            name: What their names begin with.
        """
        arrays: dict[str, NDArray[Any]] = {"labels": self.labels, "present": self.present}
        arrays["ids"], arrays["id_offsets"] = self.video_ids.arrays
        arrays["paths"], arrays["path_offsets"] = self.paths.arrays
        if self.starts.strides != (0,):  # not whole files only
            arrays |= {"starts": self.starts, "ends": self.ends}
        for key, array in arrays.items():
            save_array(folder / f"{name}_{key}.npy", array)

    @classmethod
    def kept(cls, folder: Path, name: str) -> Self:
        """Map a table's files into memory: whoever else does shares it, and so do other processes.

        Args:
            folder: See `keep`.
            name: See `keep`.

        Raises:
            OSError: A file is not there.
            ValueError: A file is damaged.
        """

        def mapped(key: str) -> NDArray[Any]:
            # copies on write, so that torch may have it
            array: NDArray[Any] = np.load(folder / f"{name}_{key}.npy", mmap_mode="c")
            return array.view(np.ndarray)

        ids = PackedStrings.of(mapped("ids"), mapped("id_offsets"))
        paths = PackedStrings.of(mapped("paths"), mapped("path_offsets"))
        times = [
            mapped(key) if (folder / f"{name}_{key}.npy").exists() else None
            for key in ("starts", "ends")
        ]
        table = cls(ids, paths, mapped("labels"), mapped("present"), *times)
        if len({len(ids), len(paths), len(table.labels), len(table.starts), len(table.ends)}) != 1:
            raise ValueError(f"the tables in {folder} do not belong together")
        table._kept_in = folder, name
        return table

    def __reduce__(self) -> tuple[Any, ...]:
        if self._kept_in is not None:
            return type(self).kept, self._kept_in
        made: tuple[Any, ...] = super().__reduce__()  # type: ignore[assignment]
        return made

    @property
    def labels(self) -> NDArray[np.int64] | NDArray[np.uint8]:
        """Class of each video, (N,), or marks of its classes, (N, K)."""
        return self._unpacked(self._labels.numpy())

    def label(self, index: int) -> int | NDArray[np.uint8]:
        """Get the class of a video, or the marks of its classes, (K,)."""
        if self._num_classes is None:
            return int(self._labels[index])
        row: NDArray[np.uint8] = self._unpacked(self._labels[index : index + 1].numpy())[0]
        return row

    def videos_of(self, label: int) -> NDArray[np.bool_]:
        """Mark the videos of a class, (N,)."""
        labels = self._labels.numpy()
        if self._num_classes is None:
            return np.asarray(labels == label)
        return np.asarray(labels[:, label // 8] & (128 >> label % 8) > 0)  # as np.packbits has them

    def class_counts(self, positions: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
        """Count the videos of each class among some, (num_classes,).

        Args:
            positions: The videos that count.
            num_classes: K.
        """
        labels = self._labels.numpy()[positions]
        if self._num_classes is None:
            return np.bincount(labels, minlength=num_classes)
        return np.asarray(self._unpacked(labels).sum(axis=0, dtype=np.int64))

    def _unpacked(self, rows: NDArray[Any]) -> NDArray[Any]:
        if self._num_classes is None:
            return rows
        return np.unpackbits(rows, axis=1, count=self._num_classes)

    @property
    def present(self) -> NDArray[np.int64]:
        """Positions of the videos whose file was found, (M,)."""
        return self._present.numpy()

    @property
    def starts(self) -> NDArray[np.float32]:
        """Start of each video in its file, in seconds, (N,); NaN for the file's start."""
        return self._starts.numpy()

    @property
    def ends(self) -> NDArray[np.float32]:
        """End of each video in its file, in seconds, (N,); NaN for the file's end."""
        return self._ends.numpy()

    @property
    def absent(self) -> NDArray[np.int64]:
        """Positions of the videos whose file was not found, (N - M,)."""
        if len(self.present) == len(self):
            return np.zeros(0, np.int64)
        return np.setdiff1d(np.arange(len(self)), self.present, assume_unique=True)

    @cached_property
    def digest(self) -> str:
        """The list, in 16 hexadecimal digits: ids, classes and segments, found or not."""
        parts = (*self.video_ids.arrays, self._labels.numpy(), self.starts, self.ends)
        hashed = hashlib.sha256()
        for part in parts:
            hashed.update(np.ascontiguousarray(part).data)
        return hashed.hexdigest()[:16]

    def without(self, absent: NDArray[np.int64]) -> "VideoTable":
        """Make the same table in which the files at these positions, and no other, are missing."""
        table = copy.copy(self)
        present = np.setdiff1d(np.arange(len(self)), absent, assume_unique=True)
        table._present = torch.from_numpy(present)
        table._kept_in = None
        return table

    @property
    def missing(self) -> list[str]:
        """Video ids that are listed but whose file was not found."""
        return [self.video_ids[int(i)] for i in self.absent]


def make_table(
    root: Path,
    videos: ListedVideos,
    class_index: Mapping[str, int],
    files: FolderIndex,
    form: LabelForm = SINGLE,
) -> VideoTable:
    """Build the table of one split; look for its files where `videos.found` is not known.

    Args:
        root: Folder that the paths are relative to; absolute paths inside it are made so.
        videos: The listed videos.
        class_index: Class as written in the annotation -> 0-based label.
        files: Index of the files below the root.
        form: What a label of the list is.

    Raises:
        UserError: If a path leaves the root, a video is listed twice, or a class is unknown.
    """
    videos = videos.inside(root)
    labels: NDArray[np.int64] | NDArray[np.uint8]
    try:
        if form.is_single:
            labels = np.fromiter(map(class_index.__getitem__, videos.labels), np.int64, len(videos))
        else:
            labels = form.matrix(videos.labels, class_index, len(videos))
    except KeyError:
        unknown, name = next(
            (video, name)
            for video in videos
            for name in form.classes_in(video.label)
            if name not in class_index
        )
        raise UserError(
            f"the class {name!r} of {unknown.path} is not among the "
            f"{len(set(class_index.values()))} classes; correct the list or the class file"
        ) from None
    ids = videos.video_ids
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in Counter(ids).items() if count > 1)
        raise UserError(f"{twice} is listed twice in one split; remove one of the lines")
    paths, found = videos.paths, videos.found
    if found is None:
        paths, found = _find(files, paths)
    return VideoTable(
        video_ids=PackedStrings(ids),
        paths=PackedStrings(paths),
        labels=labels,
        present=np.flatnonzero(found),
        starts=videos.starts,
        ends=videos.ends,
    )


def write_missing(
    target: Path, table: VideoTable, class_names: Sequence[str], form: LabelForm = SINGLE
) -> None:
    """Write the id, class and expected path of the videos that were not found.

    Args:
        target: CSV file to write, with the columns `video_id`, `class` and `path`.
        table: The listed videos.
        class_names: Names of the classes in label order.
        form: What a label is.
    """
    with target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        write_rows(file, [("video_id", "class", "path")])
        absent = table.absent.tolist()
        ids, paths = table.video_ids, table.paths
        names = (form.named(table.label(i), class_names) for i in absent)
        write_rows(file, ((ids[i], name, paths[i]) for i, name in zip(absent, names, strict=True)))


def _find(files: FolderIndex, listed: Sequence[str]) -> tuple[Sequence[str], NDArray[np.bool_]]:
    """Find the path of each listed file; a file that is itself listed replaces no other.

    Returns:
        N paths, and a mask of those that are there, (N,).
    """
    found = files.find_all(listed)
    if found == listed:
        return listed, np.ones(len(listed), np.bool_)
    named = set(listed)
    paths = [
        path if other is None or other in named else other
        for other, path in zip(found, listed, strict=True)
    ]
    there = map(operator.eq, paths, found)
    return paths, np.fromiter(there, np.bool_, len(paths))
