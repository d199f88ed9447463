"""A check of containers for files that end early."""

from typing import BinaryIO

PLAYLISTS = (b"#EXTM3U", b"ffconcat version", b"<MPD", b"<?xml")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675


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


def _matroska_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(4)
    header = _ebml_number(file, keep_marker=False)
    if header is None:
        return False
    file.seek(header, 1)
    if _ebml_number(file, keep_marker=True) != _SEGMENT:
        return False
    length = _ebml_number(file, keep_marker=False)
    position = file.tell()
    if length is None or position + length <= size:
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


def _asf_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(0)
    head = file.read(1 << 16)
    at = head.find(_ASF_FILE_PROPERTIES)
    return at >= 0 and int.from_bytes(head[at + 40 : at + 48], "little") > size
