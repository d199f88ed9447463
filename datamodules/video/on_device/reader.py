"""Reader of videos whose frames are decoded on, and stay on, a graphics card.

**Nobody has run it on a card yet**: it was tested with the CPU as its device.
"""

from __future__ import annotations

import torch
from av.video.frame import VideoFrame

from datamodules.storage.source import Place
from datamodules.video.errors import BrokenPromiseError, VideoError
from datamodules.video.frame_parts import FrameParts
from datamodules.video.indices.building import survey
from datamodules.video.indices.cache import remember
from datamodules.video.on_device.stream import DeviceStream
from datamodules.video.packet_stream import PacketStream
from datamodules.video.reader import VideoReader


class DeviceReader(VideoReader):
    """A `VideoReader` whose frames are decoded and converted on a device, and proved there.

    Each frame is compared with the checksum of the one that FFmpeg decodes on the CPU, before it is
    given: a first look at a file decodes it once on the CPU, which the index cache keeps. The
    conversion to RGB is one that equals FFmpeg's for every triple of luma and chroma. What cannot
    be proved is refused.

    Args:
        path: The video file: H.264, HEVC, VP9 or AV1, 8-bit 4:2:0 of limited range.
        device: A CUDA device.

    Raises:
        RuntimeError: There is no such device.
        VideoError: The file cannot be read, or not on a device; see `Reason`.
    """

    def __init__(self, path: Place, device: str | torch.device = "cuda") -> None:
        super().__init__(path)
        self.device = torch.device(device)
        if not self._index.is_surveyed:
            self._release()
            self._index = survey(self.source)
            remember(self.source, self._index)
        if self._index.stored is None:
            detail = "where its packets lie is not known; use VideoReader"
            raise VideoError(self.source, "no decoder", detail)
        self._stream = self._open_stream()

    def _open_stream(self) -> PacketStream:
        stored = self._index.stored
        assert stored is not None
        return DeviceStream(self.source, stored, self._index.entry, self.device)

    def _convert(self, number: int, frame: VideoFrame, parts: FrameParts, position: int) -> None:
        stream = self._stream
        assert isinstance(stream, DeviceStream)
        if stream.checksum(frame) != self._index.checksum[number]:
            raise BrokenPromiseError(f"frame {number} is not the one that the CPU decodes")
        parts.put(position, stream.pixels(frame))

    def _doubt(self, error: Exception) -> None:
        if self._is_cached:  # perhaps an index of what the file was
            super()._doubt(error)
            return
        detail = f"{self.device} does not give its frames exactly ({error}); use VideoReader"
        raise VideoError(self.source, "no decoder", detail) from error
