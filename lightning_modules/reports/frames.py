"""Frames of videos as pictures in a page."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

LONGEST = 200
"""Largest width of a picture, and largest height, in pixels."""

QUALITY = 80
"""Of the JPEGs."""


def picture(pixels: NDArray[np.uint8], longest: int = LONGEST) -> str:
    """Make an image that lies in the page.

    Args:
        pixels: (H, W, C).
        longest: Side of the square that it is fitted into.

    Returns:
        HTML.
    """
    return f'<img alt="" src="{data_address(pixels, longest)}">'


def data_address(pixels: NDArray[np.uint8], longest: int = LONGEST) -> str:
    """Make the address of an image that lies in the page itself; see `picture`."""
    shown = Image.fromarray(pixels)
    if max(shown.size) > longest:
        shown = ImageOps.contain(shown, (longest, longest))
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def strip(frames: NDArray[np.uint8]) -> str:
    """Set frames, (N, H, W, C), side by side."""
    return f'<div class="strip">{"".join(map(picture, frames))}</div>'
