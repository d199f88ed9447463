"""A packed dataset: files in tar shards, found by an index of their names.

    DST/pack.json                   manifest: what is packed, how, by which versions
    DST/shards/shard-000000.tar     members under their paths, as `tar` and WebDataset read them
    DST/index/                      sorted names; shard, first byte, size and CRC-32 of each member
    DST/...                         the dataset's lists, as they were

The index is mapped into memory, so that processes share it and its size costs no start.
"""

import json
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.storage.addresses import Address
from datamodules.storage.base import Source, Span
from datamodules.storage.local import LocalPath
from datamodules.storage.ranges import part_of, ranged

__all__ = ["MANIFEST", "PackIndex", "PackedPath", "open_pack"]

MANIFEST = "pack.json"
INDEX, SHARDS = "index", "shards"
ABOUT = "about.json"
"""File of the index that names shards and lists: elsewhere nothing may list a folder."""
ORIGIN = "origin.txt"
"""File of a copy without shards that holds the address of the dataset."""
ARRAYS = ("names", "ends", "shard", "start", "size", "crc")
"""Arrays of the index: the names behind each other in UTF-8, sorted; the end of each name; and
number of the shard, first byte in it, bytes, and CRC-32 of each file."""


class _Names:
    """The sorted names of all files."""

    def __init__(self, blob: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._blob, self._ends = blob, ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: int) -> bytes:
        begin = int(self._ends[place - 1]) if place else 0
        return self._blob[begin : int(self._ends[place])].tobytes()


class Member(NamedTuple):
    """A file in a shard.

    Attributes:
        shard: Number of the shard.
        start: Its first byte in it.
        size: Bytes.
        crc: CRC-32 of its content.
    """

    shard: int
    start: int
    size: int
    crc: int


class PackIndex:
    """Index of a packed dataset.

    Args:
        folder: Folder of its arrays.

    Raises:
        OSError: They are not there, or do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        try:
            found = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        except ValueError as error:  # numpy's word for no array
            raise OSError(f"the index in {folder} is damaged ({error})") from error
        lengths = {len(found[name]) for name in ARRAYS[1:]}
        ends = found["ends"]
        if len(lengths) != 1 or (len(ends) and int(ends[-1]) != len(found["names"])):
            raise OSError(f"the index in {folder} is damaged: its arrays differ in length")
        self.names = _Names(found["names"], ends)
        try:
            self.shards: list[str] = json.loads((folder / ABOUT).read_text())["shards"]
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(f"the index in {folder} is damaged ({error})") from error
        self._columns = [found[name] for name in ARRAYS[2:]]

    def __len__(self) -> int:
        return len(self.names)

    def find(self, path: str) -> Member | None:
        """Find a file.

        Args:
            path: Its path in the dataset.
        """
        name = os.fsencode(path)
        place = bisect_left(self.names, name)
        if place == len(self.names) or self.names[place] != name:
            return None
        return Member(*(int(column[place]) for column in self._columns))

    def has_folder(self, path: str) -> bool:
        """Check that there is a file below a folder."""
        return next(self.entries(path), None) is not None

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        """List a folder: the name of each entry, and whether it is a folder, sorted.

        Args:
            folder: Its path in the dataset; empty for all of it.
        """
        prefix = os.fsencode(f"{folder}/") if folder else b""
        place = bisect_left(self.names, prefix)
        while place < len(self.names) and (name := self.names[place]).startswith(prefix):
            first, slash, _ = name[len(prefix) :].partition(b"/")
            yield os.fsdecode(first), bool(slash)
            # "0" is the byte behind "/": all that lies in the folder is jumped over
            place = bisect_left(self.names, prefix + first + b"0", place) if slash else place + 1


@lru_cache(maxsize=8)
def _index(folder: Path, modified: int) -> PackIndex:
    """Open an index once in each process, anew when it was made anew."""
    return PackIndex(folder)


@dataclass(frozen=True)
class PackedPath(Source):
    """A file or folder of a packed dataset.

    Attributes:
        root: Folder of the dataset's index and lists, on this machine.
        place: Folder of the dataset with its shards, wherever it is.
        member: Path in the dataset, without slashes at its ends; empty for all of it.
    """

    root: Path
    place: Source
    member: str = ""

    def __str__(self) -> str:
        return f"{self.root}!/{self.member}"

    def __truediv__(self, name: str) -> "PackedPath":
        return PackedPath(self.root, self.place, f"{self.member}/{name}".strip("/"))

    @property
    def parent(self) -> "PackedPath | None":
        """See `Source`."""
        above = self.member.rpartition("/")[0]
        return PackedPath(self.root, self.place, above) if self.member else None

    @property
    def contents(self) -> PackIndex:
        """The index of the whole dataset."""
        folder = self.root / INDEX
        return _index(folder, (folder / "names.npy").stat().st_mtime_ns)

    def _found(self) -> Member:
        found = self.contents.find(self.member)
        if found is None:
            raise FileNotFoundError(f"{self.place} has no file {self.member}")
        return found

    def _shard(self, member: Member) -> Source:
        return self.place / self.contents.shards[member.shard]

    @property
    def span(self) -> Span | None:
        """See `Source`.

        Raises:
            OSError: The shard ends before the file does.
        """
        found = self._found()
        path = self._shard(found).path
        if path is None:
            return None
        end = found.start + found.size
        if path.stat().st_size < end:
            raise OSError(self._cut(found))
        return Span(path, found.start, end)

    def exists(self) -> bool:
        """See `Source`."""
        return self.is_file() or self.is_folder()

    def is_file(self) -> bool:
        """See `Source`."""
        return self.contents.find(self.member) is not None

    def is_folder(self) -> bool:
        """See `Source`."""
        return self.contents.has_folder(self.member)

    def names(self) -> list[str]:
        """See `Source`."""
        return [name for name, _ in self.contents.entries(self.member)]

    def entries(self) -> Iterator[tuple[str, bool]]:
        """See `Source`."""
        return self.contents.entries(self.member)

    def size(self) -> int:
        """See `Source`."""
        return self._found().size

    def identity(self) -> tuple[object, ...]:
        """See `Source`; the same wherever the shards lie."""
        found = self._found()
        return "packed", self.member, found.size, found.crc

    def is_away(self) -> bool:
        """See `Source`; elsewhere than on this machine nothing may list a folder."""
        return not (self.place / MANIFEST).exists()

    def read(self, start: int, length: int) -> bytes:
        """See `Source`.

        Raises:
            OSError: The shard cannot be read, or ends before the file does.
        """
        found = self._found()
        length = max(0, min(length, found.size - start))
        content = self._shard(found).read(found.start + start, length)
        return self._whole(found, content, length)

    def open(self) -> BinaryIO:
        """See `Source`."""
        found = self._found()
        shard = self._shard(found)
        if shard.path is None:
            return ranged(self.read, found.size, self.name)
        file = shard.open()
        part = part_of(file, found.start)

        def read(start: int, length: int) -> bytes:
            return self._whole(found, part(start, length), length)

        return ranged(read, found.size, self.name, file.close)

    def _whole(self, found: Member, content: bytes, length: int) -> bytes:
        if len(content) < length:
            raise OSError(self._cut(found))
        return content

    def _cut(self, found: Member) -> str:
        return f"the shard {self._shard(found)} ends within {self.member}; copy it once more"


def open_pack(root: Path) -> PackedPath | None:
    """Open a packed dataset.

    Args:
        root: A folder on this machine, of all of it or of all but the shards.

    Returns:
        None where the folder holds no such dataset.

    Raises:
        OSError: It is not packed to its end, or its index cannot be read.
    """
    if not (root / MANIFEST).is_file():
        return None
    if not (root / INDEX).is_dir():
        raise OSError(f"{root} is not packed to its end; go on with `kinetoscope pack`")
    origin = root / ORIGIN
    place = Address(origin.read_text()) if origin.is_file() else LocalPath(root.absolute())
    found = PackedPath(root.absolute(), place)
    len(found.contents)  # opens the index, so that a fault of it is told here
    return found
