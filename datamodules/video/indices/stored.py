"""Places of the packets of a video, which are then read without their container.

Most containers hold a packet as the decoder takes it. Where that was seen for every packet of a
file, its first byte, a checksum and the decoder's settings are all that later readers need: nothing
is opened, no header is read, and no byte of the sound that lies between the pictures.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from av.codec.hwaccel import HWAccel
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from datamodules.storage.source import Source

__all__ = ["DecoderSettings", "StoredLog", "StoredPackets"]

CODECS = frozenset({"h264", "hevc", "mpeg4", "vp8", "vp9", "libdav1d", "av1"})
"""Decoders that need nothing of the container but what `DecoderSettings` hold."""

_WINDOW = 2**20
"""Bytes of the file that are read at once while packets are looked for."""
_GAP = 2**12
"""Bytes between packets that are read with them."""
_HEADER = 64
"""Bytes before a packet, at most, in which a container describes it (Matroska)."""


@dataclass(frozen=True)
class DecoderSettings:
    """Settings of a decoder that the container of a video tells.

    Attributes:
        name: Name of the decoder.
        tag: Four characters by which the container names the codec.
        extradata: Headers of the codec.
        width: Columns of a frame.
        height: Rows of a frame.
        reorder_depth: Packets that may come between that of a frame and the frame.
        colours: Matrix, range, primaries and transfer, as FFmpeg numbers them.
        rotation: Degrees by which frames are to be turned counter-clockwise.
    """

    name: str
    tag: str
    extradata: bytes
    width: int
    height: int
    reorder_depth: int
    colours: tuple[int, int, int, int]
    rotation: int

    @classmethod
    def of(cls, context: VideoCodecContext, rotation: int) -> Self | None:
        """Note the settings of a decoder that a container has set up; None where that cannot be.

        Args:
            context: The decoder.
            rotation: See `DecoderSettings`.
        """
        try:
            tag = context.codec_tag
        except UnicodeDecodeError:  # PyAV takes it for ASCII
            return None
        return cls(
            name=context.codec.name,
            tag=tag,
            extradata=bytes(context.extradata or b""),
            width=context.width,
            height=context.height,
            reorder_depth=context.reorder_depth,
            colours=(
                context.colorspace,
                context.color_range,
                context.color_primaries,
                context.color_trc,
            ),
            rotation=rotation,
        )

    def decoder(self, hwaccel: HWAccel | None = None) -> VideoCodecContext:
        """Make a decoder with these settings.

        Args:
            hwaccel: Decoder of a graphics card; None for FFmpeg's own.

        Raises:
            av.codec.codec.UnknownCodecError: This build of FFmpeg has none of that name.
        """
        context = VideoCodecContext.create(self.name, "r", hwaccel)
        assert isinstance(context, VideoCodecContext)
        context.codec_tag = self.tag
        if self.extradata:
            context.extradata = self.extradata
        context.width, context.height = self.width, self.height
        context.reorder_depth = self.reorder_depth
        context.colorspace, context.color_range = self.colours[:2]
        context.color_primaries, context.color_trc = self.colours[2:]
        return context

    def to_json(self) -> str:
        """Write them down."""
        return json.dumps(asdict(self) | {"extradata": base64.b64encode(self.extradata).decode()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Args:
            text: The text.
        """
        found: dict[str, Any] = json.loads(text)
        extradata = base64.b64decode(found.pop("extradata"))
        return cls(**found | {"extradata": extradata, "colours": tuple(found["colours"])})


@dataclass(frozen=True)
class StoredPackets:
    """The packets of a file as its decoder takes them.

    Attributes:
        start: First byte of each in the file, in its order, (packets,).
        size: Bytes of each, (packets,).
        checksum: Adler-32 of each, (packets,).
        settings: Those of the decoder.
    """

    start: NDArray[np.int64]
    size: NDArray[np.int64]
    checksum: NDArray[np.uint32]
    settings: DecoderSettings

    def parts(self, first: int, last: int) -> list[tuple[int, int]]:
        """List the parts of the file that hold some packets, close ones together.

        Args:
            first: The first packet.
            last: The last one.

        Returns:
            First byte of each, and the one behind its last, in the order of the packets.
        """
        start = self.start[first : last + 1]
        end = start + self.size[first : last + 1]
        gap = start[1:] - end[:-1]
        breaks = [0, *(np.flatnonzero((gap < 0) | (gap > _GAP)) + 1).tolist(), len(start)]
        return [(int(start[a]), int(end[b - 1])) for a, b in pairwise(breaks)]


class StoredLog:
    """Places of packets, found while a file is read once.

    Args:
        source: The file.
        decoder: Name of its decoder.
    """

    def __init__(self, source: Source, decoder: str) -> None:
        self._file = source.open()
        self._window, self._begin = b"", 0  # a part of the file, and where it begins
        self._last_shift = 0
        self._rows: list[tuple[int, int, int]] | None = [] if decoder in CODECS else None

    def add(self, packet: Packet[Any], content: bytes, cuts: tuple[int, ...] = ()) -> None:
        """Look for the next packet.

        Args:
            packet: The packet.
            content: Its bytes.
            cuts: Where the parts of it begin and end that the decoder is to get one by one; none
                for the whole packet.

        Raises:
            OSError: The file cannot be read.
        """
        if self._rows is None:
            return
        position, shift = -1 if packet.pos is None else packet.pos, -1
        if position >= 0 and content:
            shift = self._shift(position, content)
        if shift < 0:
            self._rows = None  # one is enough
            return
        for begin, end in pairwise(cuts or (0, len(content))):
            part = content[begin:end]
            self._rows.append((position + shift + begin, len(part), zlib.adler32(part)))

    def _shift(self, position: int, content: bytes) -> int:
        """Count the bytes of a header before a packet; -1 where the packet is not there."""
        end = position + len(content) + _HEADER
        if not self._begin <= position <= end <= self._begin + len(self._window):
            self._file.seek(position)
            self._window, self._begin = self._file.read(max(_WINDOW, end - position)), position
        at = position - self._begin
        if not self._window.startswith(content, at + self._last_shift):
            found = self._window.find(content, at, end - self._begin)
            self._last_shift = max(found - at, -1)
        return self._last_shift

    def packets(self, settings: DecoderSettings | None, count: int) -> StoredPackets | None:
        """Arrange what was found; None if a packet is not stored as it is.

        Args:
            settings: Those of the decoder; None where it cannot be set up without the container.
            count: Number of packets, or parts of them, from the first one on.
        """
        if not self._rows or settings is None:
            return None
        start, size, checksum = np.array(self._rows[:count], np.int64).T.copy()
        return StoredPackets(start, size, checksum.astype(np.uint32), settings)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
