"""A packed dataset: files in tar shards, found by an index of their names.

    DST/pack.json                   manifest: what is packed, how, by which versions
    DST/shards/shard-000000.tar     members under their paths, as `tar` and WebDataset read them
    DST/index/                      sorted names; shard, first byte, size and CRC-32 of each member
    DST/...                         the dataset's lists, as they were

The index is mapped into memory, so that processes share it and its size costs no start.
"""

import hashlib
import json
import os
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import ShardError
from datamodules.storage.base import Source, Span
from datamodules.storage.elsewhere.addresses import Address, is_address
from datamodules.storage.elsewhere.blocks import BlockFile, process_blocks
from datamodules.storage.elsewhere.node_cache import BLOCK
from datamodules.storage.local import LocalPath
from datamodules.storage.ranges import part_of, ranged

__all__ = ["MANIFEST", "PackIndex", "PackedPath", "open_pack"]

MANIFEST = "pack.json"
INDEX, SHARDS = "index", "shards"
ABOUT = "about.json"
"""File of the index that names shards and lists: elsewhere nothing may list a folder."""
ORIGIN = "origin.txt"
"""File of an index without shards that tells where they are: an address, or a folder."""
COLUMNS = ("ends", "shard", "start", "size", "crc", "note_ends")
"""Arrays of the index with a value for each file: end of its name, number of the shard, first byte
in it, bytes, CRC-32, and end of its note."""
ARRAYS = ("names", "blocks", *COLUMNS)
"""All arrays: the names behind each other in UTF-8, sorted; CRC-32 of each block of each shard, and
last of the notes; and the columns."""
NOTES = f"{INDEX}/notes.bin"
"""The notes of all files (see `Source.note`) behind each other."""
OWN_FILES = frozenset((MANIFEST, ORIGIN, f"{INDEX}/{ABOUT}"))
"""Files of a packed dataset that could be taken for lists."""


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
        note: First byte of its note among all notes, and the one behind its last.
    """

    shard: int
    start: int
    size: int
    crc: int
    note: tuple[int, int]


class PackIndex:
    """Index of a packed dataset.

    Args:
        folder: Folder of its arrays.

    Raises:
        OSError: They are not there, or do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        try:
            mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        except ValueError as error:  # numpy's word for no array
            raise OSError(f"the index in {folder} is damaged ({error})") from error
        found = {name: array.view(np.ndarray) for name, array in mapped.items()}  # faster to index
        lengths = {len(found[name]) for name in COLUMNS}
        ends = found["ends"]
        if len(lengths) != 1 or (len(ends) and int(ends[-1]) != len(found["names"])):
            raise OSError(f"the index in {folder} is damaged: its arrays differ in length")
        self.names = _Names(found["names"], ends)
        try:
            about = json.loads((folder / ABOUT).read_text())
            self.files: list[tuple[str, int]] = [(str(n), int(b)) for n, b in about["files"]]
            if about["block_bytes"] != BLOCK:
                raise OSError(f"the index in {folder} is of another version; make it anew")
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(f"the index in {folder} is damaged ({error})") from error
        *self._columns, self._note_ends = (found[name] for name in COLUMNS[1:])
        self._blocks = found["blocks"]
        self._block_ends = list(accumulate(-(-size // BLOCK) for _, size in self.files))

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
        note = int(self._note_ends[place - 1]) if place else 0, int(self._note_ends[place])
        shard, start, size, crc = (int(column[place]) for column in self._columns)
        return Member(shard, start, size, crc, note)

    def shards_of(self, paths: Iterable[str]) -> NDArray[np.int32]:
        """Find the shard of each of many files that are there, (N,); of a folder that of some file.

        Args:
            paths: Their paths in the dataset, N of them.
        """
        shard: NDArray[np.int32] = self._columns[0]
        begins = [0, *(np.flatnonzero(np.diff(shard)) + 1).tolist()]  # of runs within one shard
        first = [self.names[place] for place in begins]

        def run_of(path: str) -> int:
            name = os.fsencode(path)
            of_file, of_folder = bisect_right(first, name), bisect_right(first, name + b"0")
            is_file = of_file == of_folder or self.find(path) is not None
            return (of_file if is_file else of_folder) - 1

        runs = map(run_of, paths)
        found: NDArray[np.int32] = shard[np.array(begins)[np.fromiter(runs, np.int64)]]
        return found

    def block_file(self, place: Source, number: int) -> BlockFile:
        """Give one of the dataset's files, to be read in blocks.

        Args:
            place: Folder of the dataset, elsewhere.
            number: Of a shard; -1 for the notes.
        """
        name, size = self.files[number]
        end = self._block_ends[number]
        checksums = self._blocks[end - -(-size // BLOCK) : end]
        content = f"{place}/{name} {zlib.crc32(checksums)}"
        key = hashlib.sha256(content.encode()).hexdigest()[:32]
        return BlockFile(place / name, size, checksums, key)

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


@lru_cache(maxsize=4096)
def _block_file(contents: PackIndex, place: Source, number: int) -> BlockFile:
    return contents.block_file(place, number)


@lru_cache(maxsize=8)
def _index(root: Path, made: int) -> PackIndex:
    """Open an index once in each process, anew when it was made anew."""
    return PackIndex(root / INDEX)


@dataclass(frozen=True)
class PackedPath(Source):
    """A file or folder of a packed dataset.

    Attributes:
        root: Folder of the dataset's index and lists, on this machine.
        place: Folder of the dataset with its shards, wherever it is.
        made: When the index was made, as its file has it.
        member: Path in the dataset, without slashes at its ends; empty for all of it.
    """

    root: Path
    place: Source
    made: int
    member: str = ""

    def __str__(self) -> str:
        return f"{self.root}!/{self.member}"

    def __truediv__(self, name: str) -> "PackedPath":
        return replace(self, member=f"{self.member}/{name}".strip("/"))

    @property
    def is_elsewhere(self) -> bool:
        """See `Source`."""
        return self.place.is_elsewhere

    @property
    def parent(self) -> "PackedPath | None":
        """See `Source`."""
        above = self.member.rpartition("/")[0]
        return replace(self, member=above) if self.member else None

    @property
    def contents(self) -> PackIndex:
        """The index of the whole dataset."""
        return _index(self.root, self.made)

    def _found(self) -> Member:
        found = self.contents.find(self.member)
        if found is None:
            raise FileNotFoundError(f"{self.place} has no file {self.member}")
        return found

    def _shard(self, member: Member) -> Source:
        return self.place / self.contents.files[member.shard][0]

    def _blocks(self, number: int) -> BlockFile:
        return _block_file(self.contents, self.place, number)

    @property
    def span(self) -> Span | None:
        """See `Source`.

        Raises:
            ShardError: The shard is not there, or ends before the file does.
            OSError: It cannot be looked at.
        """
        found = self._found()
        path = self._shard(found).path
        if path is None:
            return None
        end = found.start + found.size
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            if self.is_away():
                raise
            raise ShardError(f"there is no shard {path}; copy it once more") from error
        if size < end:
            raise self._cut(found)
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
        """See `Source`; of what lies elsewhere every fault is told by itself."""
        return not self.is_elsewhere and self.place.is_away()

    def read(self, start: int, length: int) -> bytes:
        """See `Source`.

        Raises:
            ShardError: The shard is not there, or is not the one that was packed.
            OSError: It cannot be read.
        """
        found = self._found()
        length = max(0, min(length, found.size - start))
        if self.is_elsewhere:
            return process_blocks().read(self._blocks(found.shard), found.start + start, length)
        with self._part(found) as part:
            part.seek(start)
            return part.read(length)

    def open(self) -> BinaryIO:
        """See `Source`."""
        found = self._found()
        if not self.is_elsewhere:
            return self._part(found)
        blocks, file = process_blocks(), self._blocks(found.shard)

        def read(start: int, length: int) -> bytes:
            return blocks.read(file, found.start + start, length)

        return ranged(read, found.size, self.name, buffer=1)  # a larger one would ask for more

    def _part(self, found: Member) -> BinaryIO:
        """Open this file within its shard, on this machine."""
        span = self.span
        assert span is not None
        file = span.path.open("rb", buffering=0)
        part = part_of(file, found.start)

        def read(start: int, length: int) -> bytes:
            content = part(start, length)
            if len(content) < length:
                raise self._cut(found)
            return content

        return ranged(read, found.size, self.name, file.close)

    def _cut(self, found: Member) -> ShardError:
        shard = self._shard(found)
        return ShardError(f"the shard {shard} ends within {self.member}; copy it once more")

    def note(self) -> bytes:
        """See `Source`."""
        start, end = self._found().note
        if self.is_elsewhere:
            return process_blocks().read(self._blocks(-1), start, end - start)
        return LocalPath(self.root / NOTES).read(start, end - start) if end > start else b""

    def fetch(self, parts: Iterable[tuple[int, int]]) -> None:
        """See `Source`."""
        found = self._found()
        if self.is_elsewhere:
            shifted = ((found.start + a, found.start + min(b, found.size)) for a, b in parts)
            process_blocks().fetch(self._blocks(found.shard), shifted)


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
    made = (root / INDEX / "names.npy").stat().st_mtime_ns
    found = PackedPath(root.absolute(), _place_of(root), made)
    len(found.contents)  # opens the index, so that a fault of it is told here
    return found


def _place_of(root: Path) -> Source:
    """Find the folder or address that the shards of an index lie in."""
    origin = root / ORIGIN
    if not origin.is_file():
        return LocalPath(root.absolute())
    place = origin.read_text()
    return Address(place) if is_address(place) else LocalPath(Path(place))
