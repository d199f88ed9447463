"""Notes of videos: the index of each, and what is read to open it, in a few kilobytes.

A packed dataset keeps a note of each of its videos, so that one that lies far away needs not be
read as a whole before its first frame is decoded.
"""

import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.video.indices.index import MADE_BY, VideoIndex
from datamodules.video.indices.stored import DecoderSettings, StoredPackets

__all__ = ["from_note", "to_note"]

ARRAYS = ("position", "size", "seek_time", "entry", "packet", "timestamps", "checksum")
"""Fields of an index that are arrays."""
SCALARS = ("frame_rate", "height", "width", "skipping")
"""All its others, but for where the packets are stored."""


def to_note(index: VideoIndex) -> bytes:
    """Write an index down.

    Args:
        index: The index.
    """
    arrays, stored = [getattr(index, name) for name in ARRAYS], index.stored
    if stored is not None:
        arrays += [stored.start - index.position, stored.checksum]
    about = {
        "made_by": MADE_BY,
        "settings": None if stored is None else stored.settings.to_json(),
        "arrays": [[len(array), array.dtype.str] for array in arrays],
        "scalars": [getattr(index, name) for name in SCALARS],
    }
    body = b"".join(_steps(array).tobytes() for array in arrays)
    return zlib.compress(json.dumps(about).encode() + b"\n" + body)


def from_note(note: bytes) -> VideoIndex | None:
    """Read what `to_note` wrote; None for nothing, for damage, and what other versions wrote.

    Whoever gets None reads the video itself, so that nothing depends on a note but time.

    Args:
        note: The note, or empty.
    """
    if not note:
        return None
    try:
        head, _, body = zlib.decompress(note).partition(b"\n")
        about: dict[str, Any] = json.loads(head)
    except (zlib.error, ValueError):
        return None
    if not isinstance(about, dict) or about.get("made_by") != MADE_BY:
        return None
    arrays = []
    for length, dtype in about["arrays"]:
        end = length * np.dtype(dtype).itemsize
        arrays.append(_from_steps(np.frombuffer(body[:end], dtype)))
        body = body[end:]
    fields: dict[str, Any] = dict(zip(SCALARS, about["scalars"], strict=True))
    fields |= zip(ARRAYS, arrays, strict=False)
    index = VideoIndex(**fields)
    if about["settings"] is not None:
        shift, checksum = arrays[len(ARRAYS) :]
        settings = DecoderSettings.from_json(about["settings"])
        index.stored = StoredPackets(index.position + shift, index.size, checksum, settings)
    return index


def _steps(array: NDArray[Any]) -> NDArray[Any]:
    """Take differences of neighbours, which compress well; exact, also of the bits of floats."""
    if array.dtype.itemsize < 8:
        return array
    return np.diff(array.view(np.int64), prepend=np.int64(0)).view(array.dtype)


def _from_steps(steps: NDArray[Any]) -> NDArray[Any]:
    if steps.dtype.itemsize < 8:
        return steps.copy()
    return np.cumsum(steps.view(np.int64)).view(steps.dtype)
