"""The contents of a zip or tar archive, and the byte position of each member.

Members of a tar, and those that a zip stores as they are, are read in parts straight from the
archive. A member that a zip deflated is inflated as a whole, so videos are better only stored.
"""

import struct
import tarfile
import zipfile
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

__all__ = ["Contents", "Member", "header_length", "inflate", "read_contents"]

MAX_INFLATED = 2**30
"""Bytes of the largest deflated member: a small archive can ask for any number."""
ZIP_HEADER = 30
"""Bytes before a zip member's name."""

_ZIP_BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")
_ENCRYPTED = 1  # flag


class Member(NamedTuple):
    """The position of a file in an archive.

    Attributes:
        start: Byte of the archive; in a zip that of a header, see `header_length`.
        stored: Bytes in the archive.
        size: Bytes of the file.
        crc: Of the file; None in a tar, which has none and no header.
        deflated: True if it is compressed.
    """

    start: int
    stored: int
    size: int
    crc: int | None = None
    deflated: bool = False


@dataclass(frozen=True)
class Contents:
    """The files of an archive by path, and the names in each of its folders."""

    files: dict[str, Member] = field(default_factory=dict)
    folders: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, name: str, member: Member | None) -> None:
        """Add a file, or a folder, which is None, and the folders that it is in."""
        path = PurePosixPath(name)
        parts = [part for part in path.parts if part != "/"]  # "./a//b" and "/a/b" are "a/b"
        if member is not None:
            self.files["/".join(parts)] = member
        elif parts:
            self.folders["/".join(parts)].update()
        for depth, part in enumerate(parts):
            self.folders["/".join(parts[:depth])].add(part)


def read_contents(file: BinaryIO) -> Contents:
    """Read the contents of an archive.

    Args:
        file: The open archive, a zip or a tar that is not compressed.

    Raises:
        OSError: It is neither, damaged, or compressed as a whole, so that its members cannot be
            read one by one.
    """
    try:
        is_zip = file.read(4) in _ZIP_BEGINNINGS
        file.seek(0)
        return _zip_contents(file) if is_zip else _tar_contents(file)
    except (zipfile.BadZipFile, tarfile.TarError, struct.error) as error:
        raise OSError(
            f"it is no zip or tar whose members can be read one by one ({error}); a compressed tar "
            "has to be unpacked, or packed again without compression"
        ) from error


def _zip_contents(file: BinaryIO) -> Contents:
    contents = Contents()
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            if info.is_dir():
                contents.add(info.filename, None)
            elif (deflated or info.compress_type == zipfile.ZIP_STORED) and not (
                info.flag_bits & _ENCRYPTED
            ):
                sizes = info.compress_size, info.file_size
                contents.add(info.filename, Member(info.header_offset, *sizes, info.CRC, deflated))
    return contents


def _tar_contents(file: BinaryIO) -> Contents:
    contents = Contents()
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            if info.isdir():
                contents.add(info.name, None)
            elif info.isreg() and not info.issparse():
                contents.add(info.name, Member(info.offset_data, info.size, info.size))
    return contents


def header_length(header: bytes) -> int:
    """Count the bytes before the content of a zip's member.

    Args:
        header: The first `ZIP_HEADER` bytes of it.

    Raises:
        OSError: They are no header.
    """
    if not header.startswith(_ZIP_BEGINNINGS[0]) or len(header) < ZIP_HEADER:
        raise OSError("the archive is damaged: there is no member where its directory says")
    name, extra = struct.unpack("<HH", header[26:30])
    return ZIP_HEADER + int(name) + int(extra)


def inflate(stored: bytes, member: Member) -> bytes:
    """Inflate the content of a member that a zip deflated.

    Args:
        stored: Its bytes in the archive.
        member: Its entry in the directory.

    Raises:
        OSError: It is damaged, or too large.
    """
    if member.size > MAX_INFLATED:
        raise OSError(
            f"it is deflated and has {member.size} bytes, more than the {MAX_INFLATED} that are "
            "inflated at once; pack it without compression (zip -0)"
        )
    try:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, member.size + 1)
    except zlib.error as error:
        raise OSError(f"it is damaged in its archive ({error})") from error
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise OSError("it is damaged in its archive (its checksum differs)")
    return content
