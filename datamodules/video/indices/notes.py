"""Notes of videos: the index of each, and what is read to open it, in a few kilobytes.

A packed dataset keeps a note of each of its videos, so that one that lies far away needs not be
read as a whole before its first frame is decoded.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.video.indices.index import MADE_BY, VideoIndex

__all__ = ["ARRAYS", "SCALARS", "Note"]

ARRAYS = ("position", "size", "seek_time", "entry", "packet", "timestamps", "checksum")
"""Fields of an index that are arrays."""
SCALARS = ("frame_rate", "height", "width", "skipping")
"""All its others."""

Ranges = list[tuple[int, int]]


@dataclass(frozen=True)
class Note:
    """Facts about a video that spare reading all of it.

    Attributes:
        index: Its index.
        opening: The parts of its file that FFmpeg reads to open it: of each the first byte, and the
            one behind its last.
    """

    index: VideoIndex
    opening: Ranges

    def to_bytes(self) -> bytes:
        """Write it down."""
        arrays = [getattr(self.index, name) for name in ARRAYS]
        about = {
            "made_by": MADE_BY,
            "opening": self.opening,
            "arrays": [[len(array), array.dtype.str] for array in arrays],
            "scalars": [getattr(self.index, name) for name in SCALARS],
        }
        body = b"".join(_steps(array).tobytes() for array in arrays)
        return zlib.compress(json.dumps(about).encode() + b"\n" + body)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Note | None":
        """Read what `to_bytes` wrote; None for nothing, for damage, and what other versions wrote.

        Whoever gets None reads the video itself, so that nothing depends on a note but time.

        Args:
            content: Of a note, or empty.
        """
        if not content:
            return None
        try:
            head, _, body = zlib.decompress(content).partition(b"\n")
            about: dict[str, Any] = json.loads(head)
        except (zlib.error, ValueError):
            return None
        if about["made_by"] != MADE_BY:
            return None
        fields: dict[str, Any] = dict(zip(SCALARS, about["scalars"], strict=True))
        for name, (length, dtype) in zip(ARRAYS, about["arrays"], strict=True):
            end = length * np.dtype(dtype).itemsize
            fields[name] = _from_steps(np.frombuffer(body[:end], dtype))
            body = body[end:]
        return cls(VideoIndex(**fields), [(start, end) for start, end in about["opening"]])


def _steps(array: NDArray[Any]) -> NDArray[Any]:
    """Take differences of neighbours, which compress well; exact, also of the bits of floats."""
    if array.dtype.itemsize < 8:
        return array
    return np.diff(array.view(np.int64), prepend=np.int64(0)).view(array.dtype)


def _from_steps(steps: NDArray[Any]) -> NDArray[Any]:
    if steps.dtype.itemsize < 8:
        return steps.copy()
    return np.cumsum(steps.view(np.int64)).view(steps.dtype)
