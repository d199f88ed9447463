"""Files elsewhere, read in blocks: each is fetched once, checked, and kept.

    blocks = process_blocks()
    blocks.read(file, 10_000, 500)                     # waits for what is not there yet
    blocks.fetch(file, [(0, 4096), (10_000, 90_000)])  # in a thread: what is wanted soon

Whatever comes from a server or from the node's cache is held against the checksum that the block
had when it was packed. What a server does not give is asked for again after growing waits, and then
told in one sentence with the name of the file.
"""

import errno
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import ShardError
from datamodules.storage.base import Source
from datamodules.storage.elsewhere.node_cache import BLOCK, NodeCache, node_cache
from datamodules.storage.forks import after_fork
from datamodules.storage.transient import retry, tell

__all__ = ["BlockFile", "Blocks", "block_checksums"]

MEMORY = 32 * 2**20
"""Bytes of blocks that a process holds."""
_AT_ONCE = 1024
"""Blocks that are asked for at once, at most."""
_GAP = 4
"""Blocks that are fetched though nobody asked, where two parts are wanted around them: another
question takes longer."""


@dataclass(frozen=True, eq=False)
class BlockFile:
    """A file elsewhere whose blocks are known by their checksums.

    Attributes:
        source: The file.
        size: Bytes.
        checksums: CRC-32 of each block, (blocks,).
        name: Its name in the node's cache.
    """

    source: Source
    size: int
    checksums: NDArray[np.uint32]
    name: str

    def length_of(self, number: int) -> int:
        """Bytes of a block."""
        return min(BLOCK, self.size - number * BLOCK)

    def is_block(self, number: int, content: bytes) -> bool:
        """Check that bytes are those of a block."""
        whole = len(content) == self.length_of(number)
        return whole and zlib.crc32(content) == int(self.checksums[number])


class Blocks:
    """The blocks that a process reads; for any number of its threads.

    Args:
        cache: Blocks kept for all processes of this machine.

    Attributes:
        fetched_bytes: Bytes that were asked of servers so far.
    """

    def __init__(self, cache: NodeCache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._coming: dict[tuple[str, int], Future[dict[int, bytes]]] = {}
        self.fetched_bytes = 0

    def read(self, file: BlockFile, start: int, length: int) -> bytes:
        """Read a part of a file.

        Args:
            file: The file.
            start: Its first byte.
            length: Bytes; fewer are given where the file ends.

        Raises:
            ShardError: The file is not there, or is not the one that was packed.
        """
        end = min(start + length, file.size)
        if start >= end:
            return b""
        first = start // BLOCK
        numbers = range(first, -(-end // BLOCK))
        content = b"".join(self._get(file, numbers))
        return content[start - first * BLOCK : end - first * BLOCK]

    def fetch(self, file: BlockFile, parts: Iterable[tuple[int, int]]) -> None:
        """Fetch parts of a file, close ones together, and keep them.

        Args:
            file: The file.
            parts: First byte of each, and the one behind its last.

        Raises:
            ShardError: See `read`.
        """
        numbers: set[int] = set()
        for start, end in parts:
            numbers.update(range(start // BLOCK, -(-min(end, file.size) // BLOCK)))
        self._get(file, sorted(numbers))

    def _get(self, file: BlockFile, numbers: Sequence[int]) -> list[bytes]:
        """Get blocks: from memory, another thread, the node's cache or the server."""
        found: dict[int, bytes] = {}
        waiting: dict[int, Future[dict[int, bytes]]] = {}
        own: list[int] = []
        loading: Future[dict[int, bytes]] = Future()
        with self._lock:
            for number in numbers:
                key = file.name, number
                if key in self._held:
                    self._held.move_to_end(key)
                    found[number] = self._held[key]
                elif key in self._coming:
                    waiting[number] = self._coming[key]
                else:
                    own.append(number)
                    self._coming[key] = loading
        if own:
            found |= self._load(file, own, loading)
        found |= {number: future.result()[number] for number, future in waiting.items()}
        return [found[number] for number in numbers]

    def _load(
        self, file: BlockFile, wanted: list[int], loading: Future[dict[int, bytes]]
    ) -> dict[int, bytes]:
        """Load blocks that this thread alone is after, and others may wait for."""
        loaded: dict[int, bytes] = {}
        try:
            for first, count in _runs(wanted, gap=0):
                loaded |= self._kept(file, first, count)
            for first, count in _runs([number for number in wanted if number not in loaded], _GAP):
                contents = self._fetch(file, first, count)
                self._cache.write(file.name, first, b"".join(contents))
                loaded |= zip(range(first, first + count), contents, strict=True)
        except BaseException as error:
            self._hold(file, wanted, {})
            loading.set_exception(error)
            raise
        self._hold(file, wanted, loaded)
        loading.set_result(loaded)
        return loaded

    def _kept(self, file: BlockFile, first: int, count: int) -> dict[int, bytes]:
        """Read those of some blocks that the node's cache holds."""
        content = self._cache.read(file.name, first, count)
        parts = (
            (first + i // BLOCK, content[i : i + BLOCK]) for i in range(0, len(content), BLOCK)
        )
        return {number: part for number, part in parts if file.is_block(number, part)}

    def _hold(self, file: BlockFile, wanted: Iterable[int], loaded: dict[int, bytes]) -> None:
        """Keep blocks in memory; nobody needs to wait for the wanted ones any more."""
        with self._lock:
            for number, content in loaded.items():
                self._held[file.name, number] = content
            for number in wanted:
                del self._coming[file.name, number]
            while len(self._held) * BLOCK > MEMORY:
                self._held.popitem(last=False)

    def _fetch(self, file: BlockFile, first: int, count: int) -> list[bytes]:
        """Ask the server for blocks that follow each other, until they are right."""
        numbers = range(first, first + count)
        length = sum(file.length_of(number) for number in numbers)

        def attempt() -> list[bytes]:
            self.fetched_bytes += length
            content = file.source.read(first * BLOCK, length)
            if len(content) != length:
                raise OSError(errno.EIO, f"{len(content)} of {length} bytes came")
            parts = [content[at : at + BLOCK] for at in range(0, length, BLOCK)]
            for number, part in zip(numbers, parts, strict=True):
                if not file.is_block(number, part):
                    raise OSError(errno.EIO, f"block {number} is not the one that was packed")
            return parts

        try:
            return retry(attempt, str(file.source), tell, may_pass=_may_pass)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ShardError(
                f"{file.source} cannot be read ({reason}); see that it is there and whole, and "
                "that its server answers, then give the same command again"
            ) from error


def _may_pass(error: BaseException) -> bool:
    """Return True unless the server knows the file and will not give it, or knows of none."""
    return not isinstance(error, FileNotFoundError | PermissionError)


def _runs(numbers: Sequence[int], gap: int) -> list[tuple[int, int]]:
    """Join increasing numbers: the first of each run, and how many.

    Args:
        numbers: The numbers.
        gap: Numbers that may be missing between two that are joined.
    """
    runs: list[tuple[int, int]] = []
    for number in numbers:
        first, count = runs[-1] if runs else (0, 0)
        if runs and number - first - count <= gap and number - first < _AT_ONCE:
            runs[-1] = first, number - first + 1
        else:
            runs.append((number, 1))
    return runs


def block_checksums(path: Path) -> list[int]:
    """Compute the CRC-32 of each block of a file.

    Args:
        path: The file, on this machine.
    """
    with path.open("rb") as file:
        return [zlib.crc32(block) for block in iter(partial(file.read, BLOCK), b"")]


@cache
def process_blocks() -> Blocks:
    """Give the blocks of this process, made at the first call.

    Raises:
        UserError: See `node_cache`.
    """
    return Blocks(node_cache())


after_fork(process_blocks.cache_clear)
