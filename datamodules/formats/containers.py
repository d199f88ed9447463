"""Checks of containers: for files that end early, and for holes in those that do not.

Sources: ISO/IEC 14496-12 (boxes), RIFF/AVI, RFC 8794 and 9559 (EBML, Matroska), ASF 3.2.
"""

from collections.abc import Iterable
from typing import BinaryIO

PLAYLISTS = (b"#EXTM3U", b"ffconcat version", b"<MPD", b"<?xml")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_ANYWHERE = {0xEC, 0xBF}  # space left free, checksums
_IN_SEGMENT = {
    *_ANYWHERE,
    *(_CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
}
_IN_CLUSTER = {*_ANYWHERE, 0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF}


def ends_early(file: BinaryIO) -> bool | None:
    """Check that a container announces frame data past the end of its file.

    Args:
        file: The open file.

    Returns:
        True or False for a container of known form (MP4/MOV, AVI, Matroska/WebM, ASF), None for any
        other.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(64)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
        return _boxes_end_early(file, size)
    if head[:4] == b"RIFF":
        return _riff_ends_early(file, size)
    if int.from_bytes(head[:4], "big") == _EBML:
        return _matroska_ends_early(file, size)
    if head.startswith(_ASF_HEADER):
        return _asf_ends_early(file, size)
    return None


def _boxes_end_early(file: BinaryIO, size: int) -> bool:
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: to the end of the file; anything else is no box
            return False
        position += length
        if position > size:
            return head[4:8] in (b"mdat", b"moov", b"moof")
    return False


def _riff_ends_early(file: BinaryIO, size: int) -> bool:
    position, riff_end = 12, size
    while position + 12 <= size:
        file.seek(position)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] == b"RIFF":  # OpenDML: the next part
            position += 12
            continue
        riff_end = position + 8 + length
        if riff_end > size:
            return head[:4] == b"LIST" and head[8:12] == b"movi" and length != 0xFFFFFFFF
        position = riff_end + (length & 1)
    return False


def _ebml_number(file: BinaryIO, keep_marker: bool) -> int | None:
    """Read an EBML variable-length number; None where it is unknown (all ones) or the file ends."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    data = first + file.read(length - 1)
    if len(data) < length:
        return None
    value, bits = int.from_bytes(data, "big"), 7 * length
    if keep_marker:
        return value
    value &= (1 << bits) - 1
    return None if value == (1 << bits) - 1 else value


def _enter_segment(file: BinaryIO) -> int | None:
    """Go to the first element of a Matroska segment.

    Returns:
        The byte at which the segment ends, -1 where it does not tell; None where there is none.
    """
    file.seek(4)
    header = _ebml_number(file, keep_marker=False)
    if header is None:
        return None
    file.seek(header, 1)
    if _ebml_number(file, keep_marker=True) != _SEGMENT:
        return None
    length = _ebml_number(file, keep_marker=False)
    return -1 if length is None else file.tell() + length


def _matroska_ends_early(file: BinaryIO, size: int) -> bool:
    end = _enter_segment(file)
    position = file.tell()
    if end is None or end <= size:
        return False
    while position < size:  # which element does the end of the file cut?
        name, length = _ebml_number(file, keep_marker=True), _ebml_number(file, keep_marker=False)
        if name is None or length is None:
            return name == _CLUSTER or file.tell() >= size
        position = file.tell() + length
        if position > size:
            return name == _CLUSTER
        file.seek(position)
    return True


def torn_at(file: BinaryIO) -> int | None:
    """Follow the elements of a Matroska or WebM file, down to the blocks of its clusters.

    Args:
        file: The open file.

    Returns:
        The byte at which something else stands than an element; None where all is whole.
    """
    size = file.seek(0, 2)
    end = _enter_segment(file)
    if end is None:
        return 0
    end = size if end < 0 else min(end, size)
    position, limit, names = file.tell(), end, _IN_SEGMENT
    while position < end:
        if position == limit:  # the cluster is through
            limit, names = end, _IN_SEGMENT
        file.seek(position)
        name, length = _ebml_number(file, keep_marker=True), _ebml_number(file, keep_marker=False)
        start = file.tell()
        if name not in names:
            return position
        if name == _CLUSTER and length is None:  # written live: another element ends it
            position, names = start, _IN_SEGMENT | _IN_CLUSTER
        elif length is None or start + length > limit:
            return position
        elif name == _CLUSTER:
            position, limit, names = start, start + length, _IN_CLUSTER
        else:
            position = start + length
    return None


def holds_chunks(file: BinaryIO, chunks: Iterable[tuple[int, int]]) -> bool:
    """Check that chunks of an AVI stand where its index says.

    Args:
        file: The open file.
        chunks: Byte position and length of each.
    """
    for position, length in chunks:
        file.seek(position)
        head = file.read(8)
        if not head[:2].isdigit() or int.from_bytes(head[4:], "little") != length:
            return False
    return True


def _asf_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(0)
    head = file.read(1 << 16)
    at = head.find(_ASF_FILE_PROPERTIES)
    return at >= 0 and int.from_bytes(head[at + 40 : at + 48], "little") > size
