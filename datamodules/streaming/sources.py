"""Sources of frames in order: video files, folders of images, arrays; `live` has the endless ones.

Whatever it is, its frames come one after another, each once, and only the pixels of those that are
wanted are made.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.errors import UserError
from datamodules.storage.source import Place
from datamodules.video.errors import VideoError
from datamodules.video.frame_folder import FrameFolderReader
from datamodules.video.reader import open_video

__all__ = ["FileFrames", "Frame", "FrameSource", "TensorFrames", "Wanted"]

AT_ONCE = 8
"""Frames of a file that are decoded together."""

_NEARLY = 1e-6
"""Seconds by which a time stamp may be off from being rounded."""

Wanted: TypeAlias = Callable[[int, int], npt.NDArray[np.bool_]]
"""Tells which of the frames [begin, end) have to be decoded, (end - begin,)."""


class Frame(NamedTuple):
    """A frame.

    Attributes:
        number: From 0.
        time: When it is shown, in seconds.
        pixels: RGB, (C, H, W), uint8; None where they are not wanted.
    """

    number: int
    time: float
    pixels: Tensor | None


class FrameSource(AbstractContextManager["FrameSource"], Protocol):
    """A source of frames; a context manager.

    Attributes:
        name: Its name for people: a path, an address.
        frame_rate: Frames per second.
        num_frames: Number of frames; None where the end is not known.
    """

    name: str
    frame_rate: float
    num_frames: int | None

    def frames(self, wanted: Wanted, first: int = 0) -> Iterator[Frame]:
        """Give all frames in order, from `first` on, where a source can begin anywhere.

        Args:
            wanted: Tells of which frames the pixels are needed.
            first: Number of the first frame.

        Raises:
            VideoError: The video is damaged, or the connection lost.
        """
        ...


def check_rate(frame_rate: float | None) -> None:
    """Refuse a rate that is none; None is the video's own."""
    if frame_rate is not None and not 0 < frame_rate < math.inf:
        raise UserError(f"frame_rate={frame_rate} is not possible; give frames per second above 0")


class FileFrames:
    """The frames of a video file or of a folder of images.

    With a frame rate of its own choice, frame k is the one that FFmpeg's filter `fps` gives: of the
    frames whose time, rounded to a multiple of 1 / rate, is at most k / rate, the last. So the grid
    is that of a file converted with `ffmpeg -r`.

    Args:
        path: The file or folder.
        frame_rate: Frames per second to take; None for the file's own. A folder of images, which
            does not tell, has this one.

    Attributes:
        name: The path.
        frame_rate: Frames per second.
        num_frames: Number of frames.
        times: When they are shown, in seconds, (num_frames,).

    Raises:
        VideoError: It cannot be read, or is a folder and no rate is given.
        UserError: If the rate is not above 0.
    """

    def __init__(self, path: Place, frame_rate: float | None = None) -> None:
        check_rate(frame_rate)
        self.name = str(path)
        self._video = open_video(path, frame_rate)
        times = self._video.timestamps
        own_rate = self._video.frame_rate
        self._shown = np.arange(len(times))
        if isinstance(self._video, FrameFolderReader):
            if frame_rate is None:
                detail = "its images do not tell how many there are in a second; give frame_rate"
                raise VideoError(path, "no times", detail)
        elif frame_rate is not None and frame_rate != own_rate:
            self._shown = frames_at_rate(times, own_rate, frame_rate)
            times = times[0] + np.arange(len(self._shown)) / frame_rate
        self.frame_rate = frame_rate or own_rate
        self.num_frames: int | None = len(times)
        self.times = times

    def frames(self, wanted: Wanted, first: int = 0) -> Iterator[Frame]:
        """See `FrameSource.frames`."""
        for begin in range(first, len(self.times), AT_ONCE):
            end = min(begin + AT_ONCE, len(self.times))
            mask = wanted(begin, end)
            pixels = iter(self._read(self._shown[begin:end][mask]))
            for number, is_wanted in enumerate(mask.tolist(), begin):
                time = float(self.times[number])
                yield Frame(number, time, next(pixels) if is_wanted else None)

    def _read(self, numbers: npt.NDArray[np.int64]) -> Tensor:
        if isinstance(self._video, FrameFolderReader) or not len(numbers):
            return self._video.get_frames(numbers)
        return self._video.get_frames(numbers, more=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._video.close()


def frames_at_rate(
    times: npt.NDArray[np.float64], own_rate: float, frame_rate: float
) -> npt.NDArray[np.int64]:
    """Choose the frames of a video that make one of another rate; see `FileFrames`.

    Args:
        times: Times at which frames are shown, in seconds, (num_frames,).
        own_rate: Frames per second, which tells how long the last one is shown.
        frame_rate: Frames per second wanted.

    Returns:
        Frame numbers, some repeated or left out; as many as the length in seconds times the rate.
    """
    seconds = times - times[0]
    count = max(1, math.floor((seconds[-1] + 1 / own_rate) * frame_rate + 0.5 + _NEARLY))
    limits = (np.arange(count) + 0.5) / frame_rate - _NEARLY
    found: npt.NDArray[np.int64] = np.searchsorted(seconds, limits) - 1
    return np.maximum(found, 0)


class TensorFrames:
    """Frames that are in memory already.

    Args:
        frames: RGB frames, (T, H, W, 3), uint8.
        frame_rate: Frames per second.
        name: Name for people.

    Attributes:
        name: Name for people.
        frame_rate: Frames per second.
        num_frames: Number of frames.

    Raises:
        UserError: If the frames are of another shape or type, or the rate is not above 0.
    """

    def __init__(
        self, frames: Tensor | npt.NDArray[np.uint8], frame_rate: float, name: str = "frames"
    ) -> None:
        values = torch.as_tensor(frames)
        is_rgb = values.ndim == 4 and values.shape[-1] == 3 and values.numel() > 0
        if not is_rgb or values.dtype != torch.uint8:
            raise UserError(
                f"got frames of shape {tuple(values.shape)} and type {values.dtype}; give RGB "
                "frames of shape (T, H, W, 3) and type uint8"
            )
        check_rate(frame_rate)
        self.name = name
        self.frame_rate = float(frame_rate)
        self.num_frames: int | None = len(values)
        self._values = values.permute(0, 3, 1, 2)

    def frames(self, wanted: Wanted, first: int = 0) -> Iterator[Frame]:
        """See `FrameSource.frames`."""
        total = len(self._values)
        for number, is_wanted in enumerate(wanted(first, total).tolist(), first):
            pixels = self._values[number].cpu() if is_wanted else None
            yield Frame(number, number / self.frame_rate, pixels)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing, as no file is open."""
