"""Readers of videos: exact frames by number, decoding no more than they need.

`VideoReader` reads a file, `open_video` a file or a folder of images. Frames are numbered in the
order in which they are shown, and equal, bit for bit, the frames that decoding the whole file from
its start gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import av
import numpy as np
import torch
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from torch import Tensor

from datamodules.storage.source import Place, as_source
from datamodules.video.errors import BrokenPromiseError, VideoError, as_unreadable
from datamodules.video.frame_folder import Clip, FrameFolderReader, Indices, check_indices
from datamodules.video.frame_parts import Change, FrameParts
from datamodules.video.indices.building import build_index, survey
from datamodules.video.indices.cache import cached_index, forget, remember
from datamodules.video.indices.index import VideoIndex
from datamodules.video.indices.packets import NO_TIME
from datamodules.video.packet_stream import PacketStream
from datamodules.video.patience import patiently
from datamodules.video.stream import VideoStream, check_file

__all__ = ["VideoError", "VideoReader", "open_video"]


_SEEK_DISTANCE = 64
"""Packets that are rather read and dropped than jumped over by a seek of FFmpeg's."""


class VideoReader:
    """Reader of the frames of a video file by number.

    Only the groups of pictures that hold wanted frames are decoded, and in them not the frames that
    no other frame refers to, unless they are wanted. What comes out is checked against the index;
    where it differs, the file is decoded once from start to end, which settles it.

    Opening reads all packets, or takes the index from the cache. A reader belongs to one
    thread. Pickled, it takes only its source along.

    Args:
        path: The video file.

    Attributes:
        device: Where frames are given.

    Raises:
        VideoError: The file cannot be read; see `Reason`.
    """

    device = torch.device("cpu")

    def __init__(self, path: Place) -> None:
        self.source = as_source(path)
        self._stream: PacketStream | None = None
        self._is_closed = False
        self._begin: int | None = None  # entry since which the decoder was fed every packet
        self._entry = 0  # entry of the frames decoded last
        self._suspect = -1  # entry of frames that came out wrong while others were left out
        self._done = -1  # frames after this one have not been left out
        self._out = -1  # the last frame that came out since then
        self._ahead: dict[int, VideoFrame] = {}  # frames that came out after the last wanted one
        self._following = -1  # the frame after the last one given
        self._index = patiently(self._find_index, self.source)

    def _find_index(self) -> VideoIndex:
        try:
            index = cached_index(self.source)
        except FileNotFoundError:  # told in its own words next
            index = None
        self._is_cached = index is not None
        if index is not None:
            return index
        check_file(self.source)
        return self._build_index()

    def _build_index(self) -> VideoIndex:
        if self.source.is_elsewhere:
            self.source.fetch([(0, self.source.size())])
        stream = VideoStream(self.source, strict=True)
        try:
            index = build_index(stream)
        except BaseException:
            stream.close()
            raise
        if index.stored is not None or index.is_surveyed:
            stream.close()  # surveyed frames are compared with checksums, not decoded strictly
        else:
            self._stream = stream
        remember(self.source, index)
        return index

    @property
    def index(self) -> VideoIndex:
        """Facts about the file."""
        return self._index

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return self._index.num_frames

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """Times at which frames are shown, in seconds, (num_frames,)."""
        return self._index.timestamps

    @property
    def frame_rate(self) -> float:
        """Average frames per second."""
        return self._index.frame_rate

    @property
    def height(self) -> int:
        """Rows, after rotation."""
        return self._index.height

    @property
    def width(self) -> int:
        """Columns, after rotation."""
        return self._index.width

    def fetch(self, indices: Indices) -> None:
        """Fetch all that decoding some frames reads, where the file lies elsewhere.

        Args:
            indices: Frame numbers from 0.

        Raises:
            IndexError: A number outside the video.
            ShardError: See `Source.fetch`.
        """
        self._fetch(np.unique(check_indices(indices, self.num_frames, self.source)))

    def _fetch(self, order: NDArray[np.int64]) -> None:
        if self.source.is_elsewhere and len(order):
            parts = self._index.parts_of(order)
            self.source.fetch([(0, self.source.size())] if parts is None else parts)

    def get_frames(
        self, indices: Indices, change: Change | None = None, *, more: bool = False
    ) -> Tensor:
        """Decode frames.

        Args:
            indices: Frame numbers from 0, in any order, repeated or not.
            change: Change of each frame, done a few frames at a time, so that large ones are never
                in memory together; None for none.
            more: Whether later frames will be asked for next: then the decoder is kept as it is,
                so that one pass over a video decodes each frame once, however it is divided.

        Returns:
            uint8 RGB frames in the order asked, (N, C, H, W), stored with channels last, or what
            `change` makes of them, (N, ...).

        Raises:
            IndexError: A number outside the video.
            VideoError: The file is damaged.
            ValueError: The reader was closed.
        """
        return self.get_clips([(indices, change)], more=more)[0]

    def get_clips(self, clips: Sequence[Clip], *, more: bool = False) -> list[Tensor]:
        """Decode several clips in one pass: what they share is decoded once.

        Args:
            clips: Frame numbers and change of each clip, see `get_frames`.
            more: See `get_frames`.

        Returns:
            The frames of each clip, see `get_frames`.

        Raises:
            IndexError: A number outside the video.
            VideoError: The file is damaged.
            ValueError: The reader was closed.
        """
        if self._is_closed:
            raise ValueError(
                f"the reader of {self.source} is closed; get the frames inside its `with` block, "
                "or before close()"
            )
        return patiently(lambda: self._clips(clips, more), self.source)

    def _clips(self, clips: Sequence[Clip], more: bool) -> list[Tensor]:
        """Decode clips, however often the index has to be doubted; see `get_clips`."""
        while True:
            numbers = [check_indices(one, self.num_frames, self.source) for one, _ in clips]
            sought = [np.unique(wanted, return_inverse=True) for wanted in numbers]
            order = np.unique(np.concatenate(numbers))
            self._fetch(order)
            changes = [change for _, change in clips]
            try:
                found = self._decode(order, [own for own, _ in sought], changes, more)
            except (BrokenPromiseError, av.FFmpegError) as error:
                self._doubt(error)
                continue
            except (OSError, VideoError):
                self._release()  # so that another attempt begins anew
                raise
            return [
                frames if np.array_equal(wanted, own) else frames[torch.from_numpy(ranks)]
                for frames, wanted, (own, ranks) in zip(found, numbers, sought, strict=True)
            ]

    def _decode(
        self,
        order: NDArray[np.int64],
        sought: Sequence[NDArray[np.int64]],
        changes: Sequence[Change | None],
        more: bool,
    ) -> list[Tensor]:
        """Decode frames, and change them as each clip does.

        Args:
            order: Increasing numbers of all of them.
            sought: Increasing numbers of those of each clip.
            changes: Change of each clip.
            more: See `get_frames`.

        Returns:
            The frames of each clip, (N, ...).
        """
        places = [
            FrameParts(len(own), self.height, self.width, change, self.device)
            for own, change in zip(sought, changes, strict=True)
        ]
        if not len(order):
            return [parts.frames() for parts in places]
        is_continued = more or order[0] == self._following  # keep the decoder running
        self._following = int(order[-1]) + 1
        entries = self._index.entries_for(order)
        for entry in np.unique(entries).tolist():
            group = order[entries == entry].tolist()
            run_on = is_continued and group[-1] == order[-1]
            for number, frame in self._run(entry, group, run_on):
                pixels = self._convert(number, frame)
                for own, parts in zip(sought, places, strict=True):
                    position = int(np.searchsorted(own, number))
                    if position < len(own) and own[position] == number:
                        parts.put(position, pixels)
        return [parts.frames() for parts in places]

    def _run(self, entry: int, group: list[int], run_on: bool) -> Iterator[tuple[int, VideoFrame]]:
        """Decode frames that share an entry, and give each with its number.

        Args:
            entry: Packet at which decoding may begin for all of them.
            group: Increasing frame numbers.
            run_on: More frames are expected to be asked for after these; otherwise the decoder is
                emptied as soon as it was fed the last packet needed.
        """
        index, last, missing = self._index, group[-1], set(group)
        for number in [n for n in self._ahead if n < group[0]]:
            del self._ahead[number]
        for number in sorted(missing & self._ahead.keys()):
            missing.discard(number)
            yield number, self._ahead.pop(number)
        if not missing:
            return
        stream = self._enter(entry, min(missing))
        self._done = last
        last_packet = len(index.size) if index.is_counted else int(index.packet[group].max())
        stream.expect(last_packet)
        while missing:
            name, packet = stream.position, None
            if run_on or name <= last_packet:
                packet = self._packet(stream, missing, last)
            for frame in stream.decode(packet, name):
                number = self._number(frame)
                if number in missing:
                    missing.discard(number)
                    yield number, frame
                elif number > last:
                    self._ahead[number] = frame
            if packet is None:
                self._begin = None
                if missing:
                    raise BrokenPromiseError(f"frame {min(missing)} did not come out")

    def _packet(self, stream: PacketStream, missing: set[int], last: int) -> Packet[Any] | None:
        """Read the next packet, and tell the decoder if it may be left out."""
        index, number = self._index, stream.position
        packet = stream.read()
        if packet is None:
            return None
        if isinstance(stream, VideoStream):
            position = -1 if packet.pos is None else packet.pos
            known = number < len(index.size)
            if not known or (packet.size, position) != (index.size[number], index.position[number]):
                raise BrokenPromiseError(f"packet {number} is not the one listed")
        if index.skipping and not index.is_counted:
            frames = index.frame[number : number + 1 + index.is_surveyed].tolist()
            # In packed MPEG-4 the frame of the next packet is stored in this one.
            stream.skip_unreferenced(0 <= frames[0] < last and missing.isdisjoint(frames))
        return packet

    def _number(self, frame: VideoFrame) -> int:
        """Find the number of a frame that came out of the decoder."""
        index, name = self._index, frame.pts
        if index.is_counted:
            number = self._out + 1
        elif name is None or not 0 <= name < len(index.frame):
            raise BrokenPromiseError("a frame came out that no packet was sent for")
        else:
            number = int(index.frame[name])
        if number <= self._out or (frame.is_corrupt and not index.is_surveyed):
            raise BrokenPromiseError(f"frame {number} came out late or corrupt")
        self._out = number
        return number

    def _enter(self, entry: int, first: int) -> PacketStream:
        """Bring the decoder to where frame `first` still comes out, fed from `entry` or before."""
        self._entry = entry
        if self._stream is None:
            self._stream = self._open_stream()
        stream = self._stream
        is_fed = self._begin is not None and self._begin <= entry <= stream.position
        if is_fed and first > self._done:
            return stream
        self._ahead.clear()
        self._out, self._begin = -1, entry
        stream.flush()
        if isinstance(stream, VideoStream):
            self._approach(stream, entry)
        else:
            stream.position = entry
        return stream

    def _open_stream(self) -> PacketStream:
        """Open the packets where they are stored, or as FFmpeg finds them."""
        return self._index.open_stored(self.source) or VideoStream(
            self.source, strict=not self._index.is_surveyed
        )

    def _approach(self, stream: VideoStream, entry: int) -> None:
        """Seek where that is worth it, and read on until a packet is next."""
        is_far = stream.is_seekable and entry - stream.position > _SEEK_DISTANCE
        if (is_far or stream.position > entry) and not self._seek(stream, entry):
            stream.rewind()
        while stream.position < entry:
            if stream.read() is None:
                raise BrokenPromiseError(f"packet {entry} is missing")

    def _seek(self, stream: VideoStream, packet: int) -> bool:
        """Seek to a packet or an earlier one; False if the end of the seek is not certain."""
        time = int(self._index.seek_time[packet])
        return (
            stream.is_seekable
            and time != NO_TIME
            and stream.seek(time, self._index.packet_at)
            and stream.position <= packet
        )

    def _convert(self, number: int, frame: VideoFrame) -> NDArray[np.uint8] | Tensor:
        """Convert a frame to upright RGB bytes, (H, W, C), which are valid until the next one."""
        stream, index = self._stream, self._index
        assert stream is not None
        if stream.upright_shape(frame) != (self.height, self.width):
            raise BrokenPromiseError(f"frame {number} has another size")
        if index.is_surveyed and stream.checksum(frame) != index.checksum[number]:
            raise BrokenPromiseError(f"frame {number} differs from what the survey saw")
        return stream.rgb(frame)

    def _doubt(self, error: Exception) -> None:
        """Trust less, step by step, until only decoding from the start is left."""
        self._release()
        index = self._index
        if self._is_cached or not index.is_surveyed:  # an old one may be of what the file was
            forget(self.source)
            self._is_cached = False
            self._index = survey(self.source)
        elif index.skipping:
            index.skipping, self._suspect = False, self._entry
        elif self._entry > 0:
            index.entry[self._entry] = False
            index.skipping = self._suspect == self._entry  # the skipping was not to blame
        elif index.stored is not None:
            self._index = replace(index, stored=None)
        else:
            raise VideoError(
                self.source, "damaged", f"it does not decode the same way twice: {error}"
            ) from error
        remember(self.source, self._index)

    def close(self) -> None:
        """Close the file; no frames can be asked for afterwards."""
        self._is_closed = True
        self._release()

    def _release(self) -> None:
        """Close the file until frames are asked for."""
        self._ahead.clear()
        self._begin, self._following = None, -1
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self.source,)


def open_video(path: Place, frame_rate: float | None = None) -> VideoReader | FrameFolderReader:
    """Open a video file or a folder of images.

    Args:
        path: The file or folder.
        frame_rate: Images per second of a folder; files know theirs.

    Raises:
        VideoError: It cannot be read; see `Reason`.
    """
    source = as_source(path)
    with as_unreadable(source):
        is_folder = source.is_folder()
    if is_folder:
        return FrameFolderReader(source, frame_rate)
    return VideoReader(source)
