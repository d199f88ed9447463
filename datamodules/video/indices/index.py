"""The index of a video: the packet of each frame, and the packets where decoding may begin.

An index is read from packet headers alone where they settle the matter: progressive H.264 whose key
frames are all IDR and whose time stamps agree with its picture order counts, VP9, MPEG-4 without
B-VOPs, and codecs that predict nothing from other frames. Every other file - and every file that
does not decode as its packets promised - is surveyed: decoded once from start to end. A surveyed
index is exact by construction and holds a checksum of each frame, against which frames decoded
after a seek are compared.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream as AVVideoStream
from numpy.typing import NDArray

from datamodules.formats.bitstreams import Picture, picture_parser
from datamodules.storage.source import Source
from datamodules.video.errors import VideoError
from datamodules.video.indices.completeness import check_complete, damage_of
from datamodules.video.indices.packets import NO_TIME, Headers, PacketLog
from datamodules.video.stream import VideoStream, upright_shape

VERSION = 5
"""Version of indices, and of the rules by which a video is refused instead."""

MADE_BY = [VERSION, *av.library_versions["libavcodec"], *av.library_versions["libavformat"]]
"""What an index depends on beside its file."""

_RATE_TOLERANCE = 0.1
"""Share by which a container's frame rate may differ from that of its time stamps."""

_SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video"})
"""Decoders that keep nothing of a frame no other refers to (VP8, VP9 and AV1 adapt to each)."""


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
        checksum: CRC-32 of each frame, see `VideoStream.checksum`, (frames,); empty for an index
            read from packet headers.
        frame_rate: Frames per second.
        height: Rows of an upright frame.
        width: Columns of an upright frame.
        skipping: True if packets that no other frame refers to may be left out between wanted
            ones.
        opening: Parts of the file that FFmpeg reads to open it: of each the first byte, and the one
            behind its last; empty where nobody noted them.
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
    opening: list[tuple[int, int]] = field(default_factory=list)
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
        return sum(v.nbytes for v in vars(self).values() if isinstance(v, np.ndarray))

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

    def parts_of(self, frames: NDArray[np.int64], distance: int) -> list[tuple[int, int]]:
        """List the parts of the file that are read to decode frames.

        Args:
            frames: Increasing frame numbers, (N,).
            distance: Packets that are read and dropped, at most, rather than jumped over.

        Returns:
            First byte of each, and the one behind its last; all of the file where nobody knows.
        """
        known = np.flatnonzero(self.position >= 0)
        if self.is_counted or len(known) < len(self.position):
            return [(0, int((self.position + self.size).max()))]
        entries = self.entries_for(frames)
        parts: list[tuple[int, int]] = []
        following = 0
        for entry in np.unique(entries).tolist():
            last = int(self.packet[frames[entries == entry]].max())
            first = entry if entry - following > distance else min(entry, following)
            packets = slice(first, last + 1)
            begin = int(self.position[packets].min())
            parts.append((begin, int((self.position[packets] + self.size[packets]).max())))
            following = last + 1
        return parts


def _index_of(
    headers: Headers,
    stream: VideoStream,
    packet: NDArray[np.int64],
    entry: NDArray[np.bool_],
    timestamps: NDArray[np.float64],
    checksum: list[int],
    shape: tuple[int, ...],
) -> VideoIndex:
    """Make the index of a file's packets, once their frames are known."""
    return VideoIndex(
        position=headers.position,
        size=headers.size,
        seek_time=headers.pts if stream.seeks_by_showing else headers.dts,
        entry=entry,
        packet=packet,
        timestamps=timestamps,
        checksum=np.array(checksum, np.uint32),
        frame_rate=_frame_rate(stream, timestamps),
        height=shape[0],
        width=shape[1],
        skipping=stream.stream.codec_context.codec.name in _SKIPPING_CODECS,
    )


def _frame_rate(stream: VideoStream, timestamps: NDArray[np.float64]) -> float:
    """Choose the container's average rate, or the time stamps' where they contradict it (GIF)."""
    declared = float(stream.stream.average_rate or stream.stream.guessed_rate or 0)
    span = float(timestamps[-1] - timestamps[0])
    measured = (len(timestamps) - 1) / span if span > 0 else declared
    if declared and abs(measured / declared - 1) <= _RATE_TOLERANCE:
        return declared
    return measured or 1.0


def _seconds(stream: VideoStream, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Convert times of showing to seconds, one per frame in order of showing.

    Frames without a time stamp are evenly spaced between and around those that have one. AVI stamps
    the order of decoding: there the times are right, in another order.
    """
    base = stream.stream.time_base or Fraction(1)
    step = 1 / float(stream.stream.average_rate or stream.stream.guessed_rate or 1)
    number, known = np.arange(len(times), dtype=np.float64), np.flatnonzero(times != NO_TIME)
    if not len(known):
        return number * step
    seconds = times[known].astype(np.float64) * base.numerator / base.denominator
    if len(known) < len(times):
        outside = np.minimum(number - known[0], 0) + np.maximum(number - known[-1], 0)
        seconds = np.asarray(np.interp(number, known, seconds), np.float64) + outside * step
    return np.sort(seconds)


def _without_lag(headers: Headers, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Close the gap that an encoder's own delay leaves behind the first frame.

    Xvid, which stores two pictures in one packet of an AVI, fills the time until it has them with
    packets of one byte.
    """
    holding = np.flatnonzero(headers.size > 1)[:2].tolist()
    if len(holding) < 2 or holding[0] != 0:
        return times
    lag = headers.dts[holding[1] - 1] - headers.dts[0]
    return np.where(times > times[0], times - lag, times)


def build_index(stream: VideoStream) -> VideoIndex:
    """Index an open file, by survey where its packets leave a doubt.

    Args:
        stream: The file at its first packet; afterwards it stands at an arbitrary one.

    Raises:
        VideoError: The file is truncated, damaged, or holds no frame.
    """
    log, context = PacketLog(), stream.stream.codec_context
    listed = len(stream.stream.index_entries)
    parse = picture_parser(context.codec.name, context.extradata or b"")
    if context.codec.intra_only:
        parse = _intra_picture
    pictures: list[Picture] = []
    first = None
    try:
        for packet in stream:
            first = packet if first is None else first
            log.add(packet)
            picture = parse(bytes(packet)) if parse is not None else None
            if picture is None:
                parse = None  # one doubt is enough
            else:
                pictures.append(picture)
    except av.FFmpegError as error:
        raise damage_of(stream, error, len(log), "packets read") from error
    headers = log.headers()
    check_complete(stream, log, headers, listed)
    settled = log.is_regular and len(pictures) == len(log)
    order = _order_of_showing(headers, pictures, context.reorder_depth) if settled else None
    shape = _shape_of(stream, first) if first is not None and order is not None else None
    if order is None or shape is None:
        return survey(stream.source)
    entry = np.array([picture.entry for picture in pictures], np.bool_)
    return _index_of(headers, stream, order, entry, _seconds(stream, headers.pts[order]), [], shape)


def _intra_picture(_: bytes) -> Picture:
    return Picture(None, entry=True)


def _order_of_showing(
    headers: Headers, pictures: list[Picture], reorder_depth: int
) -> NDArray[np.int64] | None:
    """Sort the packets by showing, one per frame; None where headers do not settle it."""
    if not pictures or not pictures[0].entry:
        return None
    entry = np.array([picture.entry for picture in pictures], np.bool_)
    if np.any(headers.key & ~entry):  # such a key frame may need earlier ones: a survey tells
        return None
    shown = np.flatnonzero([picture.shown for picture in pictures])
    times = headers.pts[shown]
    if NO_TIME in times or len(np.unique(times)) < len(times):
        return None
    by_time = shown[np.argsort(times)]
    by_picture = sorted(shown.tolist(), key=lambda i: pictures[i].order or (0, i))
    if by_time.tolist() != by_picture:
        return None
    needs_reorder = pictures[0].order is not None
    if needs_reorder and _reorder_depth(times.tolist()) > reorder_depth:
        return None  # the decoder would drop frames that come too late
    return by_time


def _reorder_depth(times: list[int]) -> int:
    """Count the earlier packets shown after a packet, at most."""
    depth, seen = 0, list[int]()
    for time in times:
        depth = max(depth, len(seen) - bisect_left(seen, time))
        insort(seen, time)
    return depth


def _shape_of(stream: VideoStream, packet: Packet[AVVideoStream]) -> tuple[int, ...] | None:
    """Find height and width of a packet's upright frame; None if it does not decode by itself."""
    try:
        frames = stream.decode(packet) + stream.decode(None)
    except av.FFmpegError:
        return None
    return stream.rgb(frames[0]).shape[:2] if len(frames) == 1 else None


class _Survey:
    """The frames of a file, collected while it is decoded from start to end."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self.packets: list[int | None] = []
        self.checksums: list[int] = []
        self.shape: tuple[int, ...] = ()

    def add(self, frames: list[VideoFrame]) -> None:
        for frame in frames:
            shape = upright_shape(frame)
            if self.shape not in ((), shape):
                (h, w), (height, width) = self.shape, shape
                detail = f"frame {len(self.packets)} is {width}x{height}, those before it {w}x{h}"
                raise VideoError(self._stream.source, "changing size", detail)
            self.shape = shape
            self.packets.append(frame.pts)
            self.checksums.append(self._stream.checksum(frame))

    def packets_of_frames(self, num_packets: int) -> list[int]:
        """List the packet of each frame, or nothing if some frame has none of its own."""
        named = [packet for packet in self.packets if packet is not None and packet < num_packets]
        return named if len(set(named)) == len(self.packets) else []


def survey(source: Source) -> VideoIndex:
    """Index a file by decoding all of it.

    Args:
        source: The video file.

    Raises:
        VideoError: Decoding raises an error, gives no frame, or frames of several sizes.
    """
    with VideoStream(source, strict=False) as stream:
        log, found = PacketLog(), _Survey(stream)
        try:
            for packet in stream:
                log.add(packet)
                found.add(stream.decode(packet, name=len(log) - 1))
            found.add(stream.decode(None))
        except av.FFmpegError as error:
            context = stream.stream.codec_context
            stream.check_size(context.width, context.height)
            raise damage_of(stream, error, len(found.packets), "frames decode") from error
        if not found.packets:
            raise VideoError(source, "no frames", f"nothing decodes from its {len(log)} packets")
        headers = log.headers()
        pts = headers.pts
        times = [NO_TIME if p is None or p >= len(pts) else pts[p] for p in found.packets]
        seconds = _seconds(stream, _without_lag(headers, np.array(times, np.int64)))
        order = np.array(found.packets_of_frames(len(log)), np.int64)
        return _index_of(headers, stream, order, headers.key, seconds, found.checksums, found.shape)
