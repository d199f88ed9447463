"""Compression: frames stored as images or as a video, and read back."""

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import TypeAlias

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datamodules.randomness import VideoDraws

__all__ = ["as_h264", "as_jpeg", "as_mpeg2", "as_mpeg4"]

Numbers: TypeAlias = NDArray[np.int64]

FRAME_RATE = 25  # of the coded clips; no codec here is told a bit rate, so it changes little


def as_jpeg(frames: Tensor, quality: int, *_: object) -> Tensor:
    """Store every frame as a JPEG of a quality from 1 to 95, (N, C, H, W)."""
    changed = []
    for frame in frames.permute(0, 2, 3, 1).numpy():  # (N, C, H, W) -> (N, H, W, C)
        stored = io.BytesIO()
        Image.fromarray(frame).save(stored, format="JPEG", quality=quality)
        with Image.open(stored) as image:
            changed.append(torch.from_numpy(np.array(image)))
    return torch.stack(changed).permute(0, 3, 1, 2)


def as_mpeg2(frames: Tensor, quantizer: int, numbers: Numbers, _: VideoDraws) -> Tensor:
    """Store each clip as MPEG-2 of a constant quantizer from 2 to 31, (N, C, H, W)."""
    return _as_video(frames, numbers, "mpeg2video", _constant(quantizer))


def as_mpeg4(frames: Tensor, quantizer: int, numbers: Numbers, _: VideoDraws) -> Tensor:
    """Store each clip as MPEG-4 part 2 of a constant quantizer from 2 to 31, (N, C, H, W)."""
    return _as_video(frames, numbers, "mpeg4", _constant(quantizer))


def as_h264(frames: Tensor, rate_factor: int, numbers: Numbers, _: VideoDraws) -> Tensor:
    """Store each clip as H.264 of a constant rate factor up to 51, (N, C, H, W)."""
    # with macroblock trees, two encodings of the same frames in one process differ at some sizes
    options = {"crf": str(rate_factor), "x264-params": "mbtree=0"}
    return _as_video(frames, numbers, "libx264", options)


def _constant(quantizer: int) -> dict[str, str]:
    return {"qmin": str(quantizer), "qmax": str(quantizer)}


def _as_video(frames: Tensor, numbers: Numbers, codec: str, options: Mapping[str, str]) -> Tensor:
    """Code the frames of each clip one after another, and decode them.

    Args:
        frames: Frames of all clips of a video, (N, C, H, W).
        numbers: Number of each frame in the video, (num_clips, T).
        codec: Name of the encoder.
        options: Its options.
    """
    height, width = frames.shape[-2:]
    rows = torch.arange(height + height % 2).clamp(max=height - 1)
    columns = torch.arange(width + width % 2).clamp(max=width - 1)
    even = frames.index_select(-2, rows).index_select(-1, columns)
    changed = []
    # (num_clips * T, C, H, W) -> (num_clips, T, H, W, C)
    pictures = even.permute(0, 2, 3, 1).numpy()
    for clip in pictures.reshape(*numbers.shape, *pictures.shape[1:]):
        decoded = _decoded(_coded(clip, codec, options))
        assert decoded.shape == clip.shape, f"{codec} gave {decoded.shape} of {clip.shape}"
        changed.append(torch.from_numpy(decoded))
    return torch.cat(changed).permute(0, 3, 1, 2)[..., :height, :width]


def _coded(clip: NDArray[np.uint8], codec: str, options: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=FRAME_RATE, options=dict(options))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # so that the file does not depend on the machine
        for number, picture in enumerate(clip):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)  # the rate depends on them
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _decoded(content: bytes) -> NDArray[np.uint8]:
    with av.open(io.BytesIO(content), "r") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.uint8, copy=False)
