"""A source: one thing to read from, wherever it lies.

    as_source("videos/a.mp4")                     a file or folder
    as_source("videos.zip!/train/a.mp4")          a member of an archive (zip or tar)
    as_source("packed!/train/a.mp4")              a member of a packed dataset's shards
    as_source("s3://bucket/videos.tar!/a.mp4")    what fsspec opens, here an archive of it

Everything that is asked of a source raises `OSError` where it cannot be told. A `Path` is always a
local file: only a user's own words can be an address.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from datamodules.storage.base import Source
from datamodules.storage.elsewhere.addresses import Address, is_address
from datamodules.storage.local import LocalPath
from datamodules.storage.members import ArchiveMember
from datamodules.storage.packed import open_pack

__all__ = ["Address", "ArchiveMember", "Here", "LocalPath", "Place", "Source", "as_source"]

_MEMBER = re.compile(r"(.+?\.(?:zip|tar))!/(.*)", re.IGNORECASE | re.DOTALL)
_PACKED = re.compile(r"(.+?)!/(.*)", re.DOTALL)


@dataclass(frozen=True)
class Here(LocalPath):
    """The current folder, from which any path or address leads on."""

    local: Path = Path()

    def __truediv__(self, name: str) -> Source:
        return as_source(name)


Place: TypeAlias = str | os.PathLike[str] | Source


def as_source(path: Place) -> Source:
    """Make the source of a path or address.

    Args:
        path: A path, a member of an archive or a packed dataset (`ARCHIVE!/MEMBER`), an address, or
            a source.
    """
    if isinstance(path, Source):
        return path
    if not isinstance(path, str):
        return LocalPath(Path(path))
    if found := _MEMBER.fullmatch(path):
        return ArchiveMember(as_source(found[1]), found[2].strip("/"))
    if (found := _PACKED.fullmatch(path)) and (pack := open_pack(Path(found[1]))) is not None:
        return pack / found[2] if found[2] else pack
    return Address(path) if is_address(path) else LocalPath(Path(path))
