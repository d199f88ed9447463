"""The files of a dataset as files: those equal byte for byte, and those that no list names."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from datamodules.storage.source import Source, as_source
from datamodules.video.suffixes import has_video_suffix, is_video

_ENDS = 2**14
"""Bytes at each end of a file that are compared before the whole."""

_BLOCK = 2**20


def equal_files(paths: Sequence[str], num_threads: int) -> list[list[str]]:
    """Find groups of files with the same content.

    Only files of equal size are opened, and read whole only where their ends are equal too.

    Args:
        paths: Files; folders and what cannot be read are left aside.
        num_threads: Files that are read at the same time.

    Returns:
        Groups of two or more, each in the order given.
    """
    groups: list[list[str]] = [list(dict.fromkeys(paths))]
    with ThreadPoolExecutor(num_threads) as pool:
        for look in (_size, _digest_of_ends, _digest):
            everything = [path for group in groups for path in group]
            seen = dict(zip(everything, pool.map(look, everything), strict=True))
            groups = [part for group in groups for part in _divided(group, seen)]
    return groups


def _divided(group: Iterable[str], seen: Mapping[str, Hashable]) -> list[list[str]]:
    """Divide a group into the parts that look alike, without single ones."""
    parts: dict[Hashable, list[str]] = defaultdict(list)
    for path in group:
        if seen[path] is not None:
            parts[seen[path]].append(path)
    return [part for part in parts.values() if len(part) > 1]


def _size(path: str) -> int | None:
    """Get the bytes of a file as a number; None where there is no file, or an empty one."""
    try:
        source = as_source(path)
        return source.size() or None if source.is_file() else None
    except OSError:
        return None


def _digest_of_ends(path: str) -> bytes | None:
    return _hashed(path, lambda size: [0, max(0, size - _ENDS)], _ENDS)


def _digest(path: str) -> bytes | None:
    return _hashed(path, lambda size: range(0, size, _BLOCK), _BLOCK)


def _hashed(path: str, offsets: Callable[[int], Iterable[int]], count: int) -> bytes | None:
    """Hash `count` bytes at each offset of a file; None where it cannot be read."""
    found = hashlib.blake2b(digest_size=16)
    try:
        source = as_source(path)
        with source.open() as file:
            for offset in offsets(source.size()):
                file.seek(offset)
                found.update(file.read(count))
    except OSError:
        return None
    return found.digest()


def unlisted_videos(root: Source, listed: Collection[str]) -> Counter[str]:
    """Count the videos below a root that no list names, by their folder.

    Args:
        root: Folder to search, without its hidden folders.
        listed: Paths relative to the root, of files and frame folders.

    Returns:
        Folder relative to the root -> number of video files and frame folders in it.
    """
    found: Counter[str] = Counter()
    seen = set[str]()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        folder = root / prefix.rstrip("/") if prefix else root
        real = os.path.realpath(folder.path) if folder.path else str(folder)
        if real in seen:  # links may lead in a circle
            continue
        seen.add(real)
        count = 0
        try:
            entries = list(folder.entries())
        except OSError:  # of a folder that nobody may read, none is known
            continue
        for name, is_folder in entries:
            if not is_folder:
                is_one = has_video_suffix(name)
            elif name.startswith(".") or prefix + name in listed:
                continue
            elif not (is_one := is_video(folder / name)):
                waiting.append(f"{prefix}{name}/")
            count += is_one and prefix + name not in listed
        if count:
            found[prefix.rstrip("/") or "."] = count
    return found
