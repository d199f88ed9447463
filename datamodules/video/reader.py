"""Readers of videos: exact frames by number, decoding no more than they need.

`VideoReader` reads a file, `open_video` a file or a folder of images, `VideoSegment` a stretch of
either. Frames are numbered in the order in which they are shown, and equal, bit for bit, the frames
that decoding the whole file from its start gives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Self

import av
import numpy as np
import numpy.typing as npt
import torch
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream as AVVideoStream
from numpy.typing import NDArray
from torch import Tensor

from datamodules.storage.source import Place, Source, as_source
from datamodules.video.errors import VideoError, as_unreadable
from datamodules.video.frame_folder import FrameFolderReader, Indices, check_indices
from datamodules.video.index import VideoIndex, build_index, checksum, survey
from datamodules.video.index_cache import cached_index, forget, remember
from datamodules.video.packets import NO_TIME
from datamodules.video.patience import patiently
from datamodules.video.stream import VideoStream, check_file

__all__ = ["VideoError", "VideoReader", "VideoSegment", "open_video"]

_SEEK_DISTANCE = 64
"""Packets that are rather read and dropped than jumped over by a seek."""


class _BrokenPromiseError(Exception):
    """A result of the decoder that contradicts the index."""


class VideoReader:
    """Reader of the frames of a video file by number.

    Only the groups of pictures that hold wanted frames are decoded, and in them not the frames that
    no other frame refers to, unless they are wanted. What comes out is checked against the index;
    where it differs, the file is decoded once from start to end, which settles it.

    Opening reads the packet headers, or takes the index from the cache. A reader belongs to one
    thread. Pickled, it takes only its source along.

    Args:
        path: The video file.

    Raises:
        VideoError: The file cannot be read; see `Reason`.
    """

    def __init__(self, path: Place) -> None:
        self.source = as_source(path)
        self._stream: VideoStream | None = None
        self._begin: int | None = None  # entry since which the decoder was fed every packet
        self._entry = 0  # entry of the frames decoded last
        self._suspect = -1  # entry of frames that came out wrong while others were left out
        self._done = -1  # frames after this one have not been left out
        self._out = -1  # the last frame that came out since then
        self._ahead: dict[int, VideoFrame] = {}  # frames that came out after the last wanted one
        self._following = -1  # the frame after the last one given
        self._index = patiently(self._find_index, self.source)

    def _find_index(self) -> VideoIndex:
        check_file(self.source)
        index = cached_index(self.source)
        self._is_cached = index is not None
        return self._build_index() if index is None else index

    def _build_index(self) -> VideoIndex:
        self._stream = VideoStream(self.source, strict=True)
        try:
            index = build_index(self._stream)
        except BaseException:
            self.close()
            raise
        if index.is_surveyed:  # its frames are compared with checksums, not decoded strictly
            self.close()
        remember(self.source, index)
        return index

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

    def get_frames(self, indices: Indices) -> Tensor:
        """Decode frames.

        Args:
            indices: Frame numbers from 0, in any order, repeated or not.

        Returns:
            uint8 RGB frames in the order asked, (N, C, H, W), stored with channels last.

        Raises:
            IndexError: A number outside the video.
            VideoError: The file is damaged.
        """
        return patiently(lambda: self._frames(indices), self.source)

    def _frames(self, indices: Indices) -> Tensor:
        """Decode frames, however often the index has to be doubted; see `get_frames`."""
        while True:
            wanted = check_indices(indices, self.num_frames, self.source)
            order, ranks = np.unique(wanted, return_inverse=True)
            try:
                pixels = self._decode(order)
            except (_BrokenPromiseError, av.FFmpegError) as error:
                self._doubt(error)
                continue
            except (OSError, VideoError):
                self.close()  # so that another attempt begins anew
                raise
            if not np.array_equal(wanted, order):
                pixels = pixels[torch.from_numpy(ranks)]
            return pixels.permute(0, 3, 1, 2)

    def _decode(self, order: NDArray[np.int64]) -> Tensor:
        """Decode the frames of increasing numbers, (N, H, W, C)."""
        pixels = torch.empty(len(order), self.height, self.width, 3, dtype=torch.uint8)
        if not len(order):
            return pixels
        is_continued = order[0] == self._following  # reading on: keep the decoder running
        self._following = int(order[-1]) + 1
        entries = self._index.entries_for(order)
        for entry in np.unique(entries).tolist():
            group = order[entries == entry].tolist()
            run_on = is_continued and group[-1] == order[-1]
            for number, frame in self._run(entry, group, run_on):
                self._convert(number, frame, pixels.numpy()[np.searchsorted(order, number)])
        return pixels

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
        last_packet = len(index.size) if index.is_counted else index.packet[group].max()
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
                    raise _BrokenPromiseError(f"frame {min(missing)} did not come out")

    def _packet(
        self, stream: VideoStream, missing: set[int], last: int
    ) -> Packet[AVVideoStream] | None:
        """Read the next packet, and tell the decoder if it may be left out."""
        index, number = self._index, stream.position
        packet = stream.read()
        if packet is None:
            return None
        position = -1 if packet.pos is None else packet.pos
        known = number < len(index.size)
        if not known or (packet.size, position) != (index.size[number], index.position[number]):
            raise _BrokenPromiseError(f"packet {number} is not the one listed")
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
            raise _BrokenPromiseError("a frame came out that no packet was sent for")
        else:
            number = int(index.frame[name])
        if number <= self._out or (frame.is_corrupt and not index.is_surveyed):
            raise _BrokenPromiseError(f"frame {number} came out late or corrupt")
        self._out = number
        return number

    def _enter(self, entry: int, first: int) -> VideoStream:
        """Bring the decoder to where frame `first` still comes out, fed from `entry` or before."""
        self._entry = entry
        if self._stream is None:
            self._stream = VideoStream(self.source, strict=not self._index.is_surveyed)
        stream = self._stream
        is_fed = self._begin is not None and self._begin <= entry <= stream.position
        if is_fed and first > self._done:
            return stream
        self._ahead.clear()
        self._out, self._begin = -1, entry
        stream.flush()
        is_far = stream.is_seekable and entry - stream.position > _SEEK_DISTANCE
        if (is_far or stream.position > entry) and not self._seek(stream, entry):
            stream.rewind()
        while stream.position < entry:
            if stream.read() is None:
                raise _BrokenPromiseError(f"packet {entry} is missing")
        return stream

    def _seek(self, stream: VideoStream, packet: int) -> bool:
        """Seek to a packet or an earlier one; False if the end of the seek is not certain."""
        time = int(self._index.seek_time[packet])
        return (
            stream.is_seekable
            and time != NO_TIME
            and stream.seek(time, self._index.packet_at)
            and stream.position <= packet
        )

    def _convert(self, number: int, frame: VideoFrame, target: NDArray[np.uint8]) -> None:
        """Write a frame's upright RGB bytes to `target`, (H, W, C)."""
        assert self._stream is not None
        rgb = self._stream.rgb(frame)
        if rgb.shape != target.shape:
            raise _BrokenPromiseError(f"frame {number} has another size")
        target[:] = rgb
        if self._index.is_surveyed and checksum(target) != self._index.checksum[number]:
            raise _BrokenPromiseError(f"frame {number} differs from what the survey saw")

    def _doubt(self, error: Exception) -> None:
        """Trust less, step by step, until only decoding from the start is left."""
        self.close()
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
        else:
            raise VideoError(
                self.source, "damaged", f"it does not decode the same way twice: {error}"
            ) from error
        remember(self.source, self._index)

    def close(self) -> None:
        """Close the file."""
        self._ahead.clear()
        self._begin, self._following = None, -1
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Source]]:
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


class VideoSegment:
    """The frames of a video that are shown in [start, end), numbered from 0.

    Args:
        path: The video file or frame folder.
        start: Begin of the segment, in seconds of presentation time; NaN for the first frame.
        end: Its end, cut off at the end of the video; NaN for the last frame.

    Raises:
        VideoError: The video cannot be opened, shows no frame in that time, or is a frame folder of
            which a segment is asked for: its images carry no times.
    """

    def __init__(self, path: Place, start: float = math.nan, end: float = math.nan) -> None:
        self._video = open_video(path)
        is_whole = math.isnan(start) and math.isnan(end)
        if isinstance(self._video, FrameFolderReader) and not is_whole:
            raise VideoError(path, "no times", f"its images do not tell what is at {start:.3f} s")
        times = self._video.timestamps
        self._first, self.num_frames = frames_between(times, start, end)
        if not self.num_frames:
            self.close()
            shown = f"its frames are shown from {times[0]:.3f} to {times[-1]:.3f} s"
            detail = f"no frame from {start:.3f} to {end:.3f} s, {shown}"
            raise VideoError(path, "empty segment", detail)

    @property
    def frame_rate(self) -> float:
        """Frames per second; NaN for a frame folder, which does not tell."""
        video = self._video
        return math.nan if isinstance(video, FrameFolderReader) else video.frame_rate

    def get_frames(self, indices: Indices) -> Tensor:
        """Decode frames of the segment, see `VideoReader.get_frames`.

        Args:
            indices: Frame numbers from 0, the segment's first frame.

        Returns:
            uint8 RGB frames in the order asked, (N, C, H, W), stored with channels last.

        Raises:
            IndexError: A number outside the segment.
            VideoError: The video is damaged.
        """
        numbers = check_indices(indices, self.num_frames, self._video.source)
        return self._video.get_frames(numbers + self._first)

    def close(self) -> None:
        """Close the video."""
        self._video.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def frames_between(
    timestamps: npt.NDArray[np.float64], start: float, end: float
) -> tuple[int, int]:
    """Find the frames that are shown in [start, end).

    Times are compared in single precision, as annotation tables keep them: a frame shown at 12.04 s
    is not before a start of 12.04 s.

    Args:
        timestamps: Times at which frames are shown, in seconds, not decreasing, (num_frames,).
        start: In seconds; NaN for the first frame.
        end: In seconds, cut off at the last frame; NaN for all that follow.

    Returns:
        The first frame and the number of frames, which may be 0.
    """
    times = timestamps.astype(np.float32)
    first = 0 if math.isnan(start) else int(np.searchsorted(times, np.float32(start)))
    after = len(times) if math.isnan(end) else int(np.searchsorted(times, np.float32(end)))
    return first, max(0, after - first)
