"""Packets of a video decoded by a graphics card, whose frames stay in its memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import av
import numpy as np
import torch
from av.codec.codec import UnknownCodecError
from av.codec.hwaccel import HWAccel
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from datamodules.storage.source import Source
from datamodules.video.errors import VideoError
from datamodules.video.indices.stored import StoredPackets
from datamodules.video.on_device.colours import matrix_of, to_rgb
from datamodules.video.packet_stream import colours_of, quarter_turns
from datamodules.video.stored_stream import StoredStream

CODECS = {"h264": "h264", "hevc": "hevc", "vp9": "vp9", "libdav1d": "av1", "av1": "av1"}
"""Decoders whose results their standards fix to the bit, and FFmpeg's name for one on a card."""


class DeviceStream(StoredStream):
    """The packets of a file, decoded where frames are wanted.

    Args:
        source: The file.
        packets: Its packets, of a codec that `check_codec` passes.
        entry: Marks of those at which decoding may begin, (packets,).
        device: A CUDA device that `check_device` passes; the CPU, whose decoder is then FFmpeg's
            own, to test all else.

    Raises:
        OSError: The file cannot be opened.
        RuntimeError: FFmpeg finds no decoder there.
        VideoError: It finds none for this codec.
    """

    def __init__(
        self, source: Source, packets: StoredPackets, entry: NDArray[np.bool_], device: torch.device
    ) -> None:
        self.device, name = device, packets.settings.name
        hwaccel = _hardware(device)
        if hwaccel is not None:
            packets = replace(packets, settings=replace(packets.settings, name=CODECS[name]))
        try:
            super().__init__(source, packets, entry, strict=False, hwaccel=hwaccel)
        except (UnknownCodecError, NotImplementedError) as error:
            raise VideoError(source, "no decoder", f"none on {device} for {name}") from error
        except av.FFmpegError as error:
            raise RuntimeError(f"FFmpeg finds no decoder on {device}: {error}") from error

    def pixels(self, frame: VideoFrame) -> Tensor:
        """Convert a frame to RGB, upright, on the device; see `PacketStream.rgb`.

        Args:
            frame: A decoded frame.

        Returns:
            uint8 pixels, (H, W, 3).

        Raises:
            VideoError: Of these colours no conversion is proved to be FFmpeg's.
        """
        colours = colours_of(frame)
        matrix = matrix_of(colours, self.device)
        if matrix is None:
            raise self._refusal(f"of its colours, {colours}, no conversion is proved")
        turns = quarter_turns(self.rotation(frame))
        return torch.rot90(to_rgb(*self._planes(frame), matrix), turns)

    def _makings(self, frame: VideoFrame) -> tuple[Any, ...]:
        """See `PacketStream`; what a card has decoded is listed as a CPU's planes are."""
        if self.device.type == "cpu":
            return super()._makings(frame)
        planes = [plane.cpu().numpy() for plane in self._planes(frame)]
        turned = self.upright_shape(frame), self.rotation(frame)
        return ("yuv420p", *turned, *colours_of(frame), planes)

    def _planes(self, frame: VideoFrame) -> tuple[Tensor, Tensor, Tensor]:
        """Luma (H, W) and chroma (H/2, W/2) of a frame, where it lies.

        Raises:
            VideoError: It is not 8-bit 4:2:0 of limited range with even sides.
        """
        if frame.height % 2 or frame.width % 2:
            raise self._refusal(f"a side of {frame.width}x{frame.height} is odd")
        if frame.format.name not in ("yuv420p", "nv12", "cuda"):
            raise self._refusal(f"its format is {frame.format.name}, not 8-bit 4:2:0")
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # PyAV hands over planes without their stream
        try:
            luma, *chroma = (from_dlpack(plane.__dlpack__()) for plane in frame.planes)
        except NotImplementedError as error:
            raise self._refusal(f"PyAV does not hand over its planes: {error}") from error
        if luma.dtype != torch.uint8:
            raise self._refusal("it has more than 8 bits")
        blue, red = chroma if len(chroma) == 2 else chroma[0].unbind(-1)
        return luma, blue, red

    def _refusal(self, detail: str) -> VideoError:
        """Say why frames are not given on a device."""
        return VideoError(self.source, "no decoder", f"{detail}; use VideoReader")


def check_device(device: torch.device) -> None:
    """Refuse a device on which nothing decodes.

    Args:
        device: The device.

    Raises:
        RuntimeError: It is neither the CPU nor a CUDA device that torch finds.
    """
    if device.type != "cpu" and (device.type != "cuda" or not torch.cuda.is_available()):
        raise RuntimeError(f"no decoder on {device}; give a CUDA device that torch finds, or cpu")


def check_codec(source: Source, packets: StoredPackets) -> None:
    """Refuse a codec that decoders may decode differently.

    Args:
        source: The file.
        packets: Its packets.

    Raises:
        VideoError: It is one.
    """
    name = packets.settings.name
    if name not in CODECS:
        detail = f"{name} is no codec that every decoder decodes alike; use VideoReader"
        raise VideoError(source, "no decoder", detail)


def _hardware(device: torch.device) -> HWAccel | None:
    """Find a card's decoder, for the context that torch uses; None for the CPU."""
    if device.type == "cpu":
        return None
    index = torch.cuda.current_device() if device.index is None else device.index
    return HWAccel("cuda", str(index), allow_software_fallback=False, is_hw_owned=True)
