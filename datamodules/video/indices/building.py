"""Making of a video's index: from packet headers where they settle it, else by survey.

An index is read from packet headers alone where they settle the matter: progressive H.264 whose key
frames are all IDR and whose time stamps agree with its picture order counts, VP9, MPEG-4 (also with
packed B-VOPs, as in the AVIs of UCF101 and HMDB51), and codecs that predict nothing from other
frames. Every other file - and every file that does not decode as its packets promised - is
surveyed: decoded once from start to end. A surveyed index is exact by construction and holds a
checksum of each frame, against which frames decoded after a seek are compared.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from datamodules.formats.bitstreams import picture_parser
from datamodules.formats.pictures import Picture
from datamodules.storage.source import Source
from datamodules.video.errors import BrokenPromiseError, VideoError
from datamodules.video.indices.completeness import check_complete, damage_of
from datamodules.video.indices.index import VideoIndex
from datamodules.video.indices.packets import NO_TIME, Headers, PacketLog
from datamodules.video.indices.stored import DecoderSettings, StoredLog, StoredPackets
from datamodules.video.packet_stream import PacketStream
from datamodules.video.stored_stream import StoredStream
from datamodules.video.stream import VideoStream

_RATE_TOLERANCE = 0.1
"""Share by which a container's frame rate may differ from that of its time stamps."""

_SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video"})
"""Decoders that keep nothing of a frame no other refers to (VP8, VP9 and AV1 adapt to each)."""


def _index_of(
    headers: Headers,
    stream: VideoStream,
    packet: NDArray[np.int64],
    entry: NDArray[np.bool_],
    times: NDArray[np.int64],
    checksum: list[int],
    shape: tuple[int, ...],
) -> VideoIndex:
    """Make the index of a file's packets, once their frames are known."""
    if _stamps_decoding(stream):
        times = _without_lag(headers, times)
    timestamps = _seconds(stream, times)
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
        skipping=stream.context.codec.name in _SKIPPING_CODECS,
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


def _stamps_decoding(stream: VideoStream) -> bool:
    """True of MPEG-4 in AVI, whose packets say when they are decoded."""
    return stream.context.codec.name == "mpeg4" and not stream.seeks_by_showing


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
    packets = _Packets(stream)
    order = packets.order_of_showing()
    frame = packets.decode_first() if order is not None else None
    if order is None or frame is None:
        return survey(stream.source)
    stored, headers = packets.stored(stream.rotation(frame)), packets.headers
    entry = np.array([picture.entry for picture in packets.pictures], np.bool_)
    facts = order, entry, headers.pts[order], list[int](), stream.upright_shape(frame)
    index = _index_of(headers, stream, *facts)
    index.stored = stored
    if packets.is_packed and stored is not None:
        index.position, index.size = stored.start, stored.size

    def is_same(stored: StoredStream) -> bool:
        packet = stored.read()
        other = _decoded_alone(stored, packet) if packet is not None else None
        return other is not None and stored.is_same(other, frame, stream)

    index = _checked(index, stream.source, is_same)
    return survey(stream.source) if packets.is_packed and index.stored is None else index


class _Packets:
    """The packets of a file, read once from start to end, and what they tell.

    Args:
        stream: The file at its first packet.

    Attributes:
        headers: Those of the packets.
        pictures: What is in each packet, up to one that leaves a doubt.

    Raises:
        VideoError: The file is truncated or damaged.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._stream, self._log, self._places = stream, PacketLog(), _stored_log(stream)
        self._first: Packet[Any] | None = None
        self.pictures: list[Picture] = []
        listed = len(stream.stream.index_entries)
        try:
            self._read()
        except av.FFmpegError as error:
            raise damage_of(stream, error, len(self._log), "packets read") from error
        finally:
            self._places.close()
        self.headers = self._log.headers()
        check_complete(stream, self._log, self.headers, listed)

    def _read(self) -> None:
        context, lent = self._stream.context, 0
        parse = picture_parser(context.codec.name, context.extradata or b"")
        if context.codec.intra_only:
            parse = _intra_picture
        for packet in self._stream:
            self._log.add(packet)
            if parse is None:
                continue
            content = bytes(packet)
            picture = parse(content)
            if picture is None:
                parse = None  # one doubt is enough
                continue
            self._first = self._first or packet
            self.pictures.append(picture)
            self._places.add(packet, content, _cuts(len(content), picture, lent))
            lent = picture.lends

    @property
    def is_packed(self) -> bool:
        """True if the picture of a packet is stored in the one before."""
        return any(picture.lends for picture in self.pictures)

    def order_of_showing(self) -> NDArray[np.int64] | None:
        """Sort the packets by showing, one per frame; None where they do not settle it."""
        if not self._log.is_regular or len(self.pictures) < len(self._log):
            return None
        depth, times_tell = self._stream.context.reorder_depth, not _stamps_decoding(self._stream)
        return _order_of_showing(self.headers, self.pictures, depth, times_tell)

    def decode_first(self) -> VideoFrame | None:
        """Decode the first packet; None if it does not decode by itself."""
        return None if self._first is None else _decoded_alone(self._stream, self._first)

    def stored(self, rotation: int) -> StoredPackets | None:
        """Arrange where the pictures are stored; None where only FFmpeg finds them.

        Args:
            rotation: See `DecoderSettings`.
        """
        settings = DecoderSettings.of(self._stream.context, rotation)
        return self._places.packets(settings, len(self.pictures))  # the last may be lent in vain


def _cuts(size: int, picture: Picture, lent: int) -> tuple[int, ...]:
    """Divide a packet into its own picture, unless the packet before had it, and the next one's."""
    own = () if lent else (size - picture.lends,)
    return (0, *own, size) if picture.lends else (0, *own)


def _stored_log(stream: VideoStream) -> StoredLog:
    return StoredLog(stream.source, stream.context.codec.name if stream.is_seekable else "")


def _checked(
    index: VideoIndex, source: Source, is_same: Callable[[StoredStream], bool]
) -> VideoIndex:
    """Forget where packets are stored if without a container the first frame comes out otherwise.

    Args:
        index: The index.
        source: The file.
        is_same: Decodes and compares it.
    """
    if (opened := index.open_stored(source)) is not None:
        with opened as stored:
            try:
                same = is_same(stored)
            except (av.FFmpegError, BrokenPromiseError):
                same = False
        if not same:
            index.stored = None
    return index


def _intra_picture(_: bytes) -> Picture:
    return Picture(None, entry=True)


def _order_of_showing(
    headers: Headers, pictures: list[Picture], reorder_depth: int, times_tell: bool
) -> NDArray[np.int64] | None:
    """Sort the packets by showing, one per frame; None where headers do not settle it.

    Args:
        headers: Those of the packets.
        pictures: What is in each.
        reorder_depth: Packets that may come between that of a frame and the frame.
        times_tell: Whether the packets' times have to agree.
    """
    if not pictures or not pictures[0].entry:
        return None
    doubted = headers.key & np.array([p.shown and not p.entry for p in pictures], np.bool_)
    if np.any(doubted):  # such a key frame may need earlier ones: a survey tells
        return None
    shown = np.flatnonzero([picture.shown for picture in pictures])
    by_picture = np.array(sorted(shown.tolist(), key=lambda i: pictures[i].order or (0, i)))
    times = headers.pts[by_picture]
    if times_tell and (NO_TIME in times or np.any(np.diff(times) <= 0)):
        return None
    needs_reorder = pictures[0].order is not None
    if needs_reorder and _reorder_depth(np.argsort(by_picture).tolist()) > reorder_depth:
        return None  # the decoder would drop frames that come too late
    return by_picture


def _reorder_depth(ranks: list[int]) -> int:
    """Count the earlier packets shown after a packet, at most."""
    depth, seen = 0, list[int]()
    for rank in ranks:
        depth = max(depth, len(seen) - bisect_left(seen, rank))
        insort(seen, rank)
    return depth


def _decoded_alone(stream: PacketStream, packet: Packet[Any]) -> VideoFrame | None:
    """Decode a packet; None if it does not decode by itself."""
    try:
        frames = stream.decode(packet) + stream.decode(None)
    except av.FFmpegError:
        return None
    return frames[0] if len(frames) == 1 else None


class _Survey:
    """The frames of a file, collected while it is decoded from start to end."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self.packets: list[int | None] = []
        self.checksums: list[int] = []
        self.shape: tuple[int, ...] = ()
        self.rotation = 0

    def add(self, frames: list[VideoFrame]) -> None:
        for frame in frames:
            shape, self.rotation = self._stream.upright_shape(frame), self._stream.rotation(frame)
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
        log, found, places = PacketLog(), _Survey(stream), _stored_log(stream)
        listed = len(stream.stream.index_entries)
        try:
            for packet in stream:
                log.add(packet)
                places.add(packet, bytes(packet))
                found.add(stream.decode(packet, name=len(log) - 1))
            found.add(stream.decode(None))
        except av.FFmpegError as error:
            stream.check_size(stream.context.width, stream.context.height)
            raise damage_of(stream, error, len(found.packets), "frames decode") from error
        finally:
            places.close()
        if not found.packets:
            raise VideoError(source, "no frames", f"nothing decodes from its {len(log)} packets")
        headers = log.headers()
        check_complete(stream, log, headers, listed)  # it may have been cut since it was indexed
        pts = [NO_TIME if p is None or p >= len(log) else headers.pts[p] for p in found.packets]
        times = np.array(pts, np.int64)
        order = np.array(found.packets_of_frames(len(log)), np.int64)
        facts = order, headers.key, times, found.checksums, found.shape
        index = _index_of(headers, stream, *facts)
        if log.is_regular:
            settings = DecoderSettings.of(stream.context, found.rotation)
            index.stored = places.packets(settings, len(log))
        return _checked(index, source, lambda stored: _first_is(stored, found.checksums[0]))


def _first_is(stored: StoredStream, checksum: int) -> bool:
    """Check the first frame that comes out."""
    frames: list[VideoFrame] = []
    while not frames and (packet := stored.read()) is not None:
        frames = stored.decode(packet)
    return bool(frames) and stored.checksum(frames[0]) == checksum
