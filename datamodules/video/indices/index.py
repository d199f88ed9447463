"""The index of a video: the packet of each frame, and the packets where decoding may begin."""

from __future__ import annotations

from dataclasses import dataclass, field

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from numpy.typing import NDArray

from datamodules.storage.source import Source
from datamodules.video.indices.stored import StoredPackets
from datamodules.video.stored_stream import StoredStream

VERSION = 7
"""Version of indices, and of the rules by which a video is refused instead."""

MADE_BY = [VERSION, *av.library_versions["libavcodec"], *av.library_versions["libavformat"]]
"""What an index depends on beside its file."""


@dataclass
class VideoIndex:
    """Facts about a video file that spare decoding it again.

    Args:
        position: Byte position of each packet in the order of the file, -1 unknown, (packets,).
        size: Bytes of each packet, (packets,).
        seek_time: Time to seek to for each packet, in the stream's time base, (packets,).
        entry: Packets at which decoding may begin, (packets,).
        packet: Packet that each frame is made of, in order of showing, (frames,); empty where
            packets and frames do not correspond, so that frames can only be counted from the start.
        timestamps: Times at which frames are shown, in seconds, (frames,).
        checksum: CRC-32 of each frame, see `PacketStream.checksum`, (frames,); empty for an index
            read from packet headers.
        frame_rate: Frames per second.
        height: Rows of an upright frame.
        width: Columns of an upright frame.
        skipping: True if packets that no other frame refers to may be left out between wanted
            ones.
        stored: Where the packets are stored; None where only FFmpeg finds them.
    """

    position: NDArray[np.int64]
    size: NDArray[np.int64]
    seek_time: NDArray[np.int64]
    entry: NDArray[np.bool_]
    packet: NDArray[np.int64]
    timestamps: NDArray[np.float64]
    checksum: NDArray[np.uint32]
    frame_rate: float
    height: int
    width: int
    skipping: bool
    stored: StoredPackets | None = None
    frame: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.frame = np.full(len(self.size), -1, np.int64)  # of each packet; -1: none
        self.frame[self.packet] = np.arange(len(self.packet))

    @property
    def num_frames(self) -> int:
        """Frames that decoding the whole file gives."""
        return len(self.timestamps)

    @property
    def is_surveyed(self) -> bool:
        """True if the index comes from decoding the whole file."""
        return len(self.checksum) > 0

    @property
    def is_counted(self) -> bool:
        """True if frames can only be found by counting them from the start."""
        return len(self.packet) == 0

    def packet_at(self, position: int) -> int | None:
        """Find the packet at a byte position by number; None if there is none or more than one.

        Args:
            position: In the file.
        """
        found = np.flatnonzero(self.position == position)
        return int(found[0]) if len(found) == 1 else None

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        own = [*vars(self).values(), *(vars(self.stored).values() if self.stored else ())]
        return sum(value.nbytes for value in own if isinstance(value, np.ndarray))

    def entries_for(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the last packet from which decoding gives each frame as from the start.

        A frame shown before the key frame it is stored after (open group of pictures) may refer to
        frames before that key frame, so decoding begins at an earlier one.

        Args:
            frames: Frame numbers, (N,).

        Returns:
            Packet numbers, (N,).
        """
        entries = np.flatnonzero(self.entry)
        if self.is_counted or not len(entries):
            return np.zeros_like(frames)
        at = np.searchsorted(entries, self.packet[frames], side="right") - 1
        while np.any(late := (at > 0) & (self.frame[entries[at]] > frames)):
            at -= late
        return np.where(at < 0, 0, entries[at])

    def parts_of(self, frames: NDArray[np.int64]) -> list[tuple[int, int]] | None:
        """List the parts of the file that are read to decode frames.

        Args:
            frames: Increasing frame numbers, (N,).

        Returns:
            First byte of each, and the one behind its last; None where only FFmpeg knows.
        """
        stored = self.stored
        if stored is None:
            return None
        if self.is_counted:
            return stored.parts(0, len(self.size) - 1)
        entries = self.entries_for(frames)
        parts = []
        for entry in np.unique(entries).tolist():
            last = int(self.packet[frames[entries == entry]].max())
            parts += stored.parts(entry, last)
        return parts

    def open_stored(self, source: Source) -> StoredStream | None:
        """Open the packets where they are stored; None where only FFmpeg finds them.

        Args:
            source: The file.

        Raises:
            OSError: It cannot be opened.
        """
        stored = self.stored
        if stored is None:
            return None
        strict = not self.is_surveyed  # else frames are compared with checksums
        try:
            return StoredStream(source, stored, self.entry, strict=strict)
        except UnknownCodecError:  # the index was made by a build that has it
            return None
