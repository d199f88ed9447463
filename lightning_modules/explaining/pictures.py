"""Drawings in the page and as files: maps over their frames, playable clips, plots.

T frames, H rows, W columns.
"""

import base64
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.utils import flow_to_image

from datamodules.atomic import path_beside, writing_binary
from datamodules.streaming.writing import VideoWriter
from lightning_modules.reports.fonts import fonts_for
from lightning_modules.reports.frames import picture
from lightning_modules.reports.page_plots import HEIGHT, WIDTH, draw

__all__ = [
    "BLUE",
    "captioned",
    "colour_flow",
    "enlarge",
    "heat",
    "play",
    "plot",
    "show",
    "side_by_side",
]

Frames = NDArray[np.uint8]

LEAST = 192
"""Short side that small frames are enlarged to, in pixels."""

MOST = 256
"""Short side that large frames are reduced to."""

RATE = 4.0
"""Frames per second of a clip that is looked at."""

BLUE = "#3f7fe0"
"""Colour of a plot's only line, on light and on dark."""


def heat(frames: Frames, maps: Tensor, largest: float) -> Frames:
    """Draw maps over frames.

    What speaks against a class (negative values) is drawn as nothing.

    Args:
        frames: (T, H, W, 3).
        maps: (T, H, W).
        largest: The value that is brightest, the same for all maps of a clip.

    Returns:
        (T, H, W, 3): dark where the map is 0, bright yellow at the largest value.
    """
    shares = (maps / max(largest, 1e-12)).clamp(0, 1).cpu().numpy()[..., None]
    colours = np.asarray(matplotlib.colormaps["inferno"](shares[..., 0]))[..., :3] * 255
    grey = frames.mean(3, keepdims=True)
    mixed: Frames = (0.55 * grey * (1 - shares) + (0.25 * grey + 0.75 * colours) * shares).astype(
        np.uint8
    )
    return mixed


def colour_flow(fields: Tensor) -> Frames:
    """Draw displacements in the usual colours, with one scale for all fields.

    Baker et al., A Database and Evaluation Methodology for Optical Flow, IJCV 2011: hue is the
    direction, saturation the length, white no motion.

    Args:
        fields: Displacements, right and down, (T, 2, H, W).

    Returns:
        (T, H, W, 3).
    """
    coloured: Frames = flow_to_image(fields.float().cpu()).permute(0, 2, 3, 1).numpy()
    return coloured


def enlarge(frames: Frames) -> Frames:
    """Bring frames to a size that can be looked at, with even sides.

    Args:
        frames: (T, H, W, 3).
    """
    short = min(frames.shape[1:3])
    factor = min(max(short, LEAST), MOST) / short
    height, width = (round(side * factor) // 2 * 2 for side in frames.shape[1:3])
    how = Image.Resampling.BICUBIC
    resized = [Image.fromarray(frame).resize((width, height), how) for frame in frames]
    return np.stack([np.asarray(picture) for picture in resized])


def side_by_side(*parts: Frames) -> Frames:
    """Set the same times of several clips of one size beside each other, (T, H, sum of W, 3)."""
    return np.concatenate(parts, axis=2)


def play(path: Path, frames: Frames, title: str) -> str:
    """Write a clip as mp4, and show it in the page.

    Args:
        path: The file, which appears whole or not at all.
        frames: (T, H, W, 3), even sides.
        title: What is seen, for those who cannot see it.

    Returns:
        HTML of a player, with the clip inside.
    """
    with path_beside(path) as part, VideoWriter(part, RATE) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number / RATE)
        writer.write(frames[-1], len(frames) / RATE)  # a frame is shown until the next one
    text = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<video controls autoplay loop muted playsinline aria-label="{escape(title)}" '
        f'src="data:video/mp4;base64,{text}"></video>'
    )


def show(path: Path, frames: Frames) -> str:
    """Write frames side by side as one PNG, and show them in the page.

    Args:
        path: The file, which appears whole or not at all.
        frames: (T, H, W, 3).

    Returns:
        HTML of a picture.
    """
    whole = np.concatenate(list(frames), axis=1)
    with writing_binary(path) as file:
        Image.fromarray(whole).save(file, "PNG")
    return f"<figure>{picture(whole, max(whole.shape[:2]))}</figure>"


def plot(
    path: Path, paint: Callable[[Axes], None], texts: Sequence[str] = (), height: float = HEIGHT
) -> str:
    """Write a plot as PNG, and draw it in the page.

    Args:
        path: The file, which appears whole or not at all.
        paint: Draws into the axes, in colours that suit light and dark.
        texts: Names of a user's that are written into it.
        height: Height in inches.

    Returns:
        SVG.
    """
    with fonts_for(texts):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure.subplots())
        with writing_binary(path) as file:
            figure.savefig(file, format="png", dpi=120)
    return draw(paint, height)


def captioned(title: str, body: str, caption: str) -> str:
    """Make a card of HTML, with plain text above and below it."""
    return (
        f'<div class="card"><h3>{escape(title)}</h3>{body}'
        f'<p class="caption">{escape(caption)}</p></div>\n'
    )
