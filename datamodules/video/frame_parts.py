"""Frames gathered a few at a time, each part changed before the next one takes memory."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.stopwatch import during

Change: TypeAlias = Callable[[Tensor], Tensor]
"""Change of uint8 frames, (N, C, H, W), each by itself, to (N, ...)."""

_MEMORY = torch.device("cpu")
_BYTES_AT_ONCE = 64 * 2**20
"""Size of the frames that are changed together: one of 8192x4096, 170 of 320x240."""


class FrameParts:
    """A place for each frame of a clip, whose order of arrival does not matter.

    Args:
        count: Number of frames.
        height: Rows of a frame.
        width: Columns of a frame.
        change: Change of the frames, such as a crop; None to keep them as they are.
        device: Where they are kept.
    """

    def __init__(
        self,
        count: int,
        height: int,
        width: int,
        change: Change | None,
        device: torch.device = _MEMORY,
    ) -> None:
        self._device = device
        self._count, self._shape, self._change = count, (height, width, 3), change
        at_once = _BYTES_AT_ONCE // (3 * height * width)
        self._at_once = max(1, at_once if change is not None else count)
        self._buffers: dict[int, Tensor] = {}
        self._missing: dict[int, int] = {}
        self._parts: dict[int, Tensor] = {}

    def put(self, position: int, pixels: NDArray[np.uint8] | Tensor) -> None:
        """Store a copy of a frame.

        Args:
            position: Its place, from 0 to the number of frames; each is filled once.
            pixels: The frame, (H, W, C), in memory or on the device.
        """
        part, place = divmod(position, self._at_once)
        if part not in self._buffers:
            self._missing[part] = min(self._at_once, self._count - part * self._at_once)
            size = (self._missing[part], *self._shape)
            self._buffers[part] = torch.empty(size, dtype=torch.uint8, device=self._device)
        if isinstance(pixels, Tensor):
            self._buffers[part][place] = pixels
        else:
            self._buffers[part].numpy()[place] = pixels
        self._missing[part] -= 1
        if not self._missing[part]:
            self._finish(part)

    def _finish(self, part: int) -> None:
        frames = self._buffers.pop(part).permute(0, 3, 1, 2)
        with during("resize"):
            self._parts[part] = frames if self._change is None else self._change(frames)

    def frames(self) -> Tensor:
        """Return all frames in the order of their places, (N, ...), once each was put."""
        if not self._count:
            size = (0, *self._shape)
            empty = torch.empty(size, dtype=torch.uint8, device=self._device).permute(0, 3, 1, 2)
            return empty if self._change is None else self._change(empty)
        parts = [self._parts[part] for part in range(len(self._parts))]
        return parts[0] if len(parts) == 1 else torch.cat(parts)
