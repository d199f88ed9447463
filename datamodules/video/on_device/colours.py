"""Conversion of 4:2:0 planes to RGB on any device, equal to FFmpeg's to the bit, or refused.

What is computed is what FFmpeg's converter does on x86 processors: 16-bit products of eighths, cut
off rather than rounded, and each chroma sample used for the four pixels it lies on. That it is the
same here is not taken for granted: before the first frame of some colours is converted, all
16,777,216 triples of luma and chroma are, by both.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from torch import Tensor

Colours: TypeAlias = tuple[int, int, int, int]
"""Matrix, range, primaries and transfer of a frame, as FFmpeg numbers them."""

_SIDE = 2048  # of the frames of the proof


@dataclass(frozen=True)
class Matrix:
    """Coefficients of a conversion, in units of 1 / 8192; `black` in eighths.

    Attributes:
        luma: Of luma above black.
        red: Of V, for red.
        green: Of U and of V, for green.
        blue: Of U, for blue.
        black: Luma of black.
    """

    luma: int
    red: int
    green: tuple[int, int]
    blue: int
    black: int


MATRICES = (
    Matrix(9539, 13075, (-3209, -6660), 16525, 128),  # ITU-R BT.601, limited range
    Matrix(9539, 14686, (-1747, -4366), 17305, 128),  # ITU-R BT.709, limited range
)


def to_rgb(luma: Tensor, blue: Tensor, red: Tensor, matrix: Matrix) -> Tensor:
    """Convert planes.

    Args:
        luma: Y, uint8, (H, W), both even.
        blue: U, uint8, (H/2, W/2).
        red: V, uint8, (H/2, W/2).
        matrix: The coefficients.

    Returns:
        uint8 RGB pixels, (H, W, 3), on the same device.
    """
    lightness = (luma.int() * 8 - matrix.black) * matrix.luma >> 16
    u, v = (plane.int() * 8 - 1024 for plane in (blue, red))
    green = (u * matrix.green[0] >> 16) + (v * matrix.green[1] >> 16)
    tints = torch.stack([v * matrix.red >> 16, green, u * matrix.blue >> 16], dim=-1)
    rows, columns = tints.shape[:2]
    each = tints[:, None, :, None].expand(rows, 2, columns, 2, 3).reshape(2 * rows, 2 * columns, 3)
    return (lightness[..., None] + each).clamp_(0, 255).byte()


@cache
def matrix_of(colours: Colours, device: torch.device) -> Matrix | None:
    """Find the matrix with which FFmpeg converts frames of some colours; None if none does.

    Takes a second or two at the first call for some colours on a device.

    Args:
        colours: What the frames say of their colours.
        device: Where they are converted.
    """
    proved = set(MATRICES)
    reformatter = VideoReformatter()
    for part in range(2**24 // (_SIDE // 2) ** 2):
        planes = _planes(part)
        try:
            expected = _converted(planes, colours, reformatter).to(device)
        except av.FFmpegError:  # it has no such conversion
            return None
        luma, blue, red = (torch.from_numpy(plane).to(device) for plane in planes)
        found = {m for m in proved if torch.equal(to_rgb(luma, blue, red, m), expected)}
        proved &= found
        if not proved:
            return None
    return proved.pop()


def _planes(part: int) -> list[np.ndarray]:
    """Every triple of a sixteenth of all, each on four pixels."""
    count = (_SIDE // 2) ** 2
    triples = np.arange(part * count, (part + 1) * count).reshape(_SIDE // 2, _SIDE // 2)
    luma, blue, red = ((triples >> shift & 255).astype(np.uint8) for shift in (16, 8, 0))
    return [luma.repeat(2, 0).repeat(2, 1), blue, red]


def _converted(planes: list[np.ndarray], colours: Colours, reformatter: VideoReformatter) -> Tensor:
    """Convert planes as `VideoReader` does."""
    frame = VideoFrame(_SIDE, _SIDE, "yuv420p")
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = colours
    for plane, pixels in zip(frame.planes, planes, strict=True):
        plane.update(pixels.tobytes())
    rgb = reformatter.reformat(frame, format="rgb24", threads=1).planes[0]
    return torch.frombuffer(bytearray(rgb), dtype=torch.uint8).view(_SIDE, _SIDE, 3)
