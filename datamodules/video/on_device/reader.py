"""Reader of videos whose frames are decoded on, and stay on, a graphics card.

**Nobody has run it on a card yet**: it was tested with the CPU as its device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from av.video.frame import VideoFrame
from torch import Tensor

from datamodules.storage.source import Place, Source
from datamodules.video.errors import BrokenPromiseError, VideoError
from datamodules.video.frame_folder import Clip, Indices
from datamodules.video.indices.building import survey
from datamodules.video.indices.cache import remember
from datamodules.video.indices.index import VideoIndex
from datamodules.video.on_device.stream import DeviceStream, check_codec, check_device
from datamodules.video.packet_stream import PacketStream
from datamodules.video.reader import VideoReader


class DeviceReader(VideoReader):
    """A `VideoReader` whose frames are decoded and converted on a device, and proved there.

    Each frame is compared with the checksum of the one that FFmpeg decodes on the CPU, before it is
    given: a first look at a file decodes it once on the CPU, which the index cache keeps, and with
    which later `VideoReader`s of the file compare their frames as well. The conversion to RGB is
    one that equals FFmpeg's for every triple of luma and chroma. What cannot be proved is refused.
    Pickled, it takes only its source and device along.

    Args:
        path: The video file: H.264, HEVC, VP9 or AV1, 8-bit 4:2:0 of limited range, in a container
            whose packets can be found without FFmpeg (MP4, Matroska; not MPEG-TS).
        device: A CUDA device.

    Raises:
        RuntimeError: There is no such device.
        VideoError: The file cannot be read, or not on a device; see `Reason`.
    """

    def __init__(self, path: Place, device: str | torch.device = "cuda") -> None:
        self.device = torch.device(device)
        check_device(self.device)
        super().__init__(path)
        self._wanted: Indices = ()
        self._prove()

    def _prove(self) -> None:
        """Get an index with checksums, if the file is one that a device may decode."""
        self._release()
        stored = self._index.stored
        if stored is None:
            detail = "where its packets lie is not known; use VideoReader"
            raise VideoError(self.source, "no decoder", detail)
        check_codec(self.source, stored)
        if not self._index.is_surveyed:
            self._index = survey(self.source)
            remember(self.source, self._index)
            self._prove()

    def _clips(self, clips: Sequence[Clip], more: bool) -> list[Tensor]:
        self._wanted = [int(number) for indices, _ in clips for number in indices]
        return super()._clips(clips, more)

    def _open_stream(self) -> PacketStream:
        stored = self._index.stored
        assert stored is not None  # `_prove` has seen to it
        return DeviceStream(self.source, stored, self._index.entry, self.device)

    def _convert(self, number: int, frame: VideoFrame) -> Tensor:
        stream = self._stream
        assert isinstance(stream, DeviceStream)
        if stream.checksum(frame) != self._index.checksum[number]:
            raise BrokenPromiseError(f"frame {number} is not the one that the CPU decodes")
        return stream.pixels(frame)

    def _doubt(self, error: Exception) -> None:
        """Let the CPU read the frames: that mends an index, or there is nothing to mend."""
        self._release()
        before = _facts(self._index)
        with VideoReader(self.source) as reader:
            reader.get_frames(self._wanted)
            self._index = reader.index
        self._prove()
        if _facts(self._index) == before:
            detail = f"{self.device} does not give its frames exactly ({error}); use VideoReader"
            raise VideoError(self.source, "no decoder", detail) from error

    def __reduce__(self) -> tuple[type[Self], tuple[Source, torch.device]]:
        return type(self), (self.source, self.device)


def _facts(index: VideoIndex) -> tuple[bytes, bytes, bool]:
    """All of an index that decoding frames by number depends on."""
    return index.checksum.tobytes(), index.entry.tobytes(), index.skipping
