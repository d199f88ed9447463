"""Sliding windows over a source: every frame is decoded, resized and cropped once, then shared.

What is kept at a time is the crops of the frames of one window, and one frame more for flow: memory
does not grow with the length of the video.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from datamodules.batch import Views
from datamodules.clips.boxes import working_size
from datamodules.clips.crops import Crops, NumCrops, count_mirrored
from datamodules.clips.input_spec import FlowSpec
from datamodules.flow.coding import FlowCoding
from datamodules.flow.methods import FlowMethodName, make_flow_method
from datamodules.streaming.sources import Frame, FrameSource
from datamodules.streaming.views import evaluation_views
from datamodules.streaming.windows import WindowGrid
from datamodules.video.errors import VideoError

__all__ = ["Window", "WindowViews", "slide"]


@dataclass(frozen=True)
class WindowViews:
    """The input of a network, of each window.

    Attributes:
        crops: Size and crops of the frames.
        num_crops: Crops of each clip.
        flow: How the optical flow beside the frames is computed; None for a network without.
    """

    crops: Crops
    num_crops: NumCrops = 1
    flow: FlowSpec | None = None


class Window(NamedTuple):
    """A window that is ready.

    Attributes:
        start: Its first frame.
        following: First frame of the next window; None after the last one.
        times: When its frames are shown, and at the end when it ends, in seconds, (W + 1,).
        views: The views of its clips.
    """

    start: int
    following: int | None
    times: npt.NDArray[np.float64]
    views: Views


class _Ring:
    """Crops of the frames of a window, and of the flow between them.

    Args:
        grid: The windows.
        settings: What is made of the frames.
        name: Name of the source, for messages.
    """

    def __init__(self, grid: WindowGrid, settings: WindowViews, name: str) -> None:
        self.grid = grid
        self.settings = settings
        self.times: deque[float] = deque(maxlen=grid.length)
        self._crops: dict[int, Tensor] = {}  # (M, C, h, w) of each frame
        self._fields: dict[int, Tensor] = {}  # (M, 2, h, w) of each field of flow
        self._last: tuple[int, npt.NDArray[np.uint8]] | None = None
        if settings.flow is not None:
            if grid.length < 2:
                raise VideoError(name, "no frames", "flow needs two frames, a window has only one")
            self._method = make_flow_method(cast(FlowMethodName, settings.flow.method))
            self._coding = FlowCoding(settings.flow.bound)

    def wanted(self, begin: int, end: int) -> npt.NDArray[np.bool_]:
        """Tell which of the frames [begin, end) are needed."""
        return self.grid.frames_to_read(begin, end) | self.grid.frames_for_flow(begin, end)

    def add(self, frame: Frame) -> None:
        """Take the next frame."""
        self.times.append(frame.time)
        if frame.pixels is None:
            return
        number, settings = frame.number, self.settings
        if self.grid.frames_to_read(number, number + 1)[0]:
            self._crops[number] = settings.crops.test(frame.pixels[None], settings.num_crops)[:, 0]
        if settings.flow is not None and self.grid.frames_for_flow(number, number + 1)[0]:
            self._add_flow(number, frame.pixels, settings.flow)

    def _add_flow(self, number: int, pixels: Tensor, flow: FlowSpec) -> None:
        """Compute the flow from the frame before."""
        size = (pixels.shape[-2], pixels.shape[-1])
        assert flow.short_side is not None, "flow cannot be computed for an unknown size"
        small = tvf.resize(pixels[None], list(working_size(*size, flow.short_side)), antialias=True)
        image = small.permute(0, 2, 3, 1).contiguous().numpy()[0]
        if self._last is not None and self._last[0] == number - 1:
            codes = self._coding.encode(self._method.estimate(np.stack([self._last[1], image])))
            cut = self.settings.crops.test(torch.from_numpy(codes), self.settings.num_crops, size)
            self._fields[number - 1] = cut[:, 0]
        self._last = number, image

    def views(self, start: int) -> Views:
        """Arrange the views of the window that begins with a frame."""
        shape, numbers = self.grid.chosen.shape, (start + self.grid.chosen).ravel().tolist()
        crops = torch.stack([self._crops[i] for i in numbers])
        fields = None
        if self.grid.fields is not None:
            numbers = (start + self.grid.fields).ravel().tolist()
            fields = torch.stack([self._fields[i] for i in numbers], 1)
        mirrored = count_mirrored(self.settings.num_crops)
        return evaluation_views(crops, (shape[0], shape[1]), fields, mirrored)

    def forget(self, before: int) -> None:
        """Drop what lies before a frame."""
        for held in (self._crops, self._fields):
            for number in [n for n in held if n < before]:
                del held[number]


def slide(source: FrameSource, grid: WindowGrid, settings: WindowViews) -> Iterator[Window]:
    """Give one window after another, as soon as its last frame is there.

    Args:
        source: The frames.
        grid: Where windows lie.
        settings: What is made of their frames.

    Raises:
        VideoError: The source cannot be read to its end.
    """
    ring, number = _Ring(grid, settings, source.name), grid.first
    start = grid.start(number)
    if start is None:
        return
    for frame in source.frames(ring.wanted, start):
        ring.add(frame)
        if frame.number < start + grid.length - 1:
            continue
        end = frame.time + 1 / source.frame_rate
        number, begin = number + 1, start
        following = grid.start(number)
        yield Window(begin, following, np.array([*ring.times, end]), ring.views(begin))
        if following is None:
            return
        start = following
        ring.forget(start)
