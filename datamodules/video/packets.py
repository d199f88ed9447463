"""The packets of a video file, collected while it is read once."""

from __future__ import annotations

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream as AVVideoStream
from numpy.typing import NDArray

NO_TIME = np.iinfo(np.int64).min


class PacketLog:
    """The headers of packets, in the order of the file.

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
            or packet.has_sidedata("new_extradata")
        )

    def _column(self, number: int) -> NDArray[np.int64]:
        return np.array([row[number] for row in self._rows], np.int64)

    @property
    def position(self) -> NDArray[np.int64]:
        """Byte position of each in the file, -1 unknown, (packets,)."""
        return self._column(0)

    @property
    def size(self) -> NDArray[np.int64]:
        """Bytes of each, (packets,)."""
        return self._column(1)

    @property
    def pts(self) -> NDArray[np.int64]:
        """Time at which each is shown, `NO_TIME` unknown, in the stream's time base, (packets,)."""
        return self._column(2)

    @property
    def dts(self) -> NDArray[np.int64]:
        """Time at which each is decoded, or else shown, (packets,)."""
        return self._column(3)

    @property
    def duration(self) -> NDArray[np.int64]:
        """Time for which each is shown, 0 unknown, (packets,)."""
        return self._column(4)

    @property
    def key(self) -> NDArray[np.bool_]:
        """True for each key frame, (packets,)."""
        return self._column(5).astype(np.bool_)
