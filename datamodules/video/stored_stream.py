"""Packets read from where they are stored, without their container."""

from __future__ import annotations

import zlib
from time import perf_counter
from typing import Any

import numpy as np
from av.codec.hwaccel import HWAccel
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from datamodules.storage.source import Source
from datamodules.video.errors import BrokenPromiseError
from datamodules.video.indices.stored import StoredPackets
from datamodules.video.packet_stream import PacketStream

__all__ = ["StoredStream"]


_AT_ONCE = 2**18
"""Bytes that are read at once, at most, unless one packet has more."""


class StoredStream(PacketStream):
    """The packets of a file whose places are known; `position` may be set to any of them.

    Args:
        source: The file.
        packets: Its packets.
        entry: Marks of those at which decoding may begin, (packets,).
        strict: See `PacketStream`.
        hwaccel: Decoder of a graphics card; None for FFmpeg's own.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(
        self,
        source: Source,
        packets: StoredPackets,
        entry: NDArray[np.bool_],
        *,
        strict: bool,
        hwaccel: HWAccel | None = None,
    ) -> None:
        super().__init__(source, strict=strict)
        self._packets, self._entry = packets, entry
        self._last = 0
        self._part, self._begin = b"", 0  # what was read at once, and where it begins
        self._prepare(packets.settings.decoder(hwaccel))
        self._file = source.open()

    def expect(self, last: int) -> None:
        """See `PacketStream`."""
        self._last = last

    def read(self) -> Packet[Any] | None:
        """Read the next packet; None at the end.

        Raises:
            BrokenPromiseError: The file holds something else there.
            OSError: The file cannot be read.
            ShardError: The shard that it is packed in cannot be read.
        """
        number = self.position
        if number >= len(self._entry):
            return None
        begun = perf_counter()
        content = self._content(number)
        if zlib.adler32(content) != self._packets.checksum[number]:
            raise BrokenPromiseError(f"packet {number} is not the one listed")
        packet: Packet[Any] = Packet(len(content))  # of bytes PyAV makes one without padding
        packet.update(content)
        packet.is_keyframe = bool(self._entry[number])
        self._seconds["read"] += perf_counter() - begun
        self.position += 1
        return packet

    def _content(self, number: int) -> bytes:
        """Give the bytes of a packet, as far as they are there."""
        start, size = int(self._packets.start[number]), int(self._packets.size[number])
        if not self._begin <= start <= start + size <= self._begin + len(self._part):
            end = self._packets.parts(number, max(number, self._last))[0][1]
            self._file.seek(start)
            self._part = self._file.read(max(size, min(end - start, _AT_ONCE)))
            self._begin = start
        return self._part[start - self._begin : start - self._begin + size]

    def rotation(self, frame: VideoFrame) -> int:
        """See `PacketStream`.

        Raises:
            BrokenPromiseError: The bitstream itself turns this frame, others perhaps not.
        """
        if frame.rotation:
            raise BrokenPromiseError("the bitstream turns its frames itself")
        return self._packets.settings.rotation

    def close(self) -> None:
        """Close the file."""
        self._file.close()
