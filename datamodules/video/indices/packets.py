"""The packets of a video file, collected while it is read once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream as AVVideoStream
from numpy.typing import NDArray

NO_TIME = np.iinfo(np.int64).min


class Headers(NamedTuple):
    """The headers of a file's packets, in the order of the file.

    Attributes:
        position: Byte position of each in the file, -1 unknown, (packets,).
        size: Bytes of each, (packets,).
        pts: Time at which each is shown, `NO_TIME` unknown, in the stream's time base, (packets,).
        dts: Time at which each is decoded, or else shown, (packets,).
        duration: Time for which each is shown, 0 unknown, (packets,).
        key: True for each key frame, (packets,).
    """

    position: NDArray[np.int64]
    size: NDArray[np.int64]
    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    duration: NDArray[np.int64]
    key: NDArray[np.bool_]


class PacketLog:
    """The packets of a file, noted while it is read.

    Attributes:
        is_regular: True if nothing was met that makes packets and frames differ.
        is_corrupt: True if FFmpeg called one of them corrupt.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int, int, bool]] = []
        self.is_regular = True
        self.is_corrupt = False

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, packet: Packet[AVVideoStream]) -> None:
        """Add the next packet.

        Args:
            packet: The packet.
        """
        position = -1 if packet.pos is None else packet.pos
        pts = NO_TIME if packet.pts is None else packet.pts
        dts = pts if packet.dts is None else packet.dts
        duration = packet.duration or 0
        self._rows.append((position, packet.size, pts, dts, duration, packet.is_keyframe))
        self.is_corrupt |= packet.is_corrupt
        self.is_regular &= not (
            packet.size == 0
            or packet.is_discard
            or packet.is_corrupt
            or (any(packet.iter_sidedata()) and packet.has_sidedata("new_extradata"))
        )

    def headers(self) -> Headers:
        """Arrange the headers of the packets so far in columns."""
        rows = np.array(self._rows, np.int64).reshape(-1, len(Headers._fields))
        position, size, pts, dts, duration, key = (column.copy() for column in rows.T)
        return Headers(position, size, pts, dts, duration, key.astype(np.bool_))
