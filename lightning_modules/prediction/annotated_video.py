"""A video with its labels written into it, from stored rows: the network does not run again."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from datamodules.atomic import path_beside
from datamodules.errors import UserError
from datamodules.streaming.sources import FileFrames
from datamodules.streaming.writing import VideoWriter
from datamodules.video.suffixes import stem_of
from lightning_modules.prediction.table import Row

__all__ = ["annotate", "annotate_all"]

PANEL = (0, 0, 0, 150)
INK = (255, 255, 255, 255)
BAR = (88, 166, 255, 220)
LEAST = 0.01
"""Least probability that is written."""

READABLE = 160
"""Height from which on labels can be read, in pixels; smaller videos are enlarged."""


def annotate_all(
    rows: Iterable[Row | tuple[str, str]],
    folder: Path,
    frame_rate: float | None = None,
    *,
    top: int = 3,
) -> Iterator[Path]:
    """Write an mp4 for each video of a table; see `annotate`.

    Args:
        rows: Stored rows, all of a video together, and the videos that have none.
        folder: Folder of the new files, `<name of the video>.mp4`.
        frame_rate: See `FileFrames`.
        top: Classes that are written at a time.

    Yields:
        Each file, when it is complete.

    Raises:
        UserError: If two videos would have the same file, or a new one lie in place of a video.
        VideoError: If a video cannot be read any more.
    """
    labelled = (row for row in rows if isinstance(row, Row))
    made: dict[Path, str] = {}
    for video, mine in groupby(labelled, key=lambda row: row.video):
        target = folder / f"{stem_of(Path(video).name)}.mp4"
        if target in made or target.resolve() == Path(video).resolve():
            raise UserError(
                f"{target}, the labelled copy of {video}, would take the place of "
                f"{made.get(target, 'the video itself')}; give another folder, or label them apart"
            )
        made[target] = video
        annotate(video, mine, target, frame_rate, top=top)
        yield target


def annotate(
    video: str, rows: Iterable[Row], target: Path, frame_rate: float | None = None, *, top: int = 3
) -> None:
    """Write a copy of a video in which every frame shows its time and its labels.

    A video too small for them is enlarged, each pixel to a square of whole pixels.

    Args:
        video: The video.
        rows: Its rows in order of time, which are read as they are needed.
        target: The new mp4; it appears whole or not at all.
        frame_rate: See `FileFrames`.
        top: Classes that are written at a time.

    Raises:
        VideoError: If the video cannot be read.
    """
    stretches = (list(group) for _, group in groupby(rows, key=lambda row: row.start))
    stretch: list[Row] = next(stretches, [])
    with FileFrames(video, frame_rate) as source, path_beside(target) as part:
        begin = float(source.times[0])
        with VideoWriter(part, source.frame_rate) as writer:
            for frame in source.frames(lambda low, high: np.ones(high - low, np.bool_)):
                while stretch and frame.time >= stretch[0].end - 1e-3:
                    stretch = next(stretches, [])
                shown = [row for row in stretch[:top] if row.probability >= LEAST]
                assert frame.pixels is not None
                pixels = _readable(frame.pixels.permute(1, 2, 0).numpy())
                writer.write(draw_labels(pixels, frame.time, shown), frame.time - begin)


def _readable(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Enlarge a frame, (H, W, 3), on which no label could be read."""
    factor = -(-READABLE // len(pixels))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else pixels


def draw_labels(
    pixels: npt.NDArray[np.uint8], time: float, rows: Sequence[Row]
) -> npt.NDArray[np.uint8]:
    """Draw time and labels onto a frame, at its lower edge.

    Args:
        pixels: RGB, (H, W, 3).
        time: In seconds.
        rows: Classes and probabilities, the most probable first.

    Returns:
        A new picture of the same size.
    """
    height, width = pixels.shape[:2]
    size = max(9, height // 20)
    # not Pillow's own font, which has no accents
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)
    line = round(size * 1.35)
    panel = Image.new("RGBA", (width, line * max(1, len(rows)) + line // 2), PANEL)
    pen = ImageDraw.Draw(panel)
    clock, right = f"{time:.1f} s", width - line // 3
    room = right - pen.textlength(clock, font) - line
    for i, row in enumerate(rows):
        top = line // 4 + i * line
        pen.rectangle((0, top, round(row.probability * width), top + line - 2), fill=BAR)
        text = f"{100 * row.probability:.0f} %  {row.label}"
        while len(text) > 4 and pen.textlength(text, font) > room:
            text = text.rstrip("…")[:-1] + "…"
        pen.text((line // 3, top), text, INK, font)
    pen.text((right, line // 4), clock, INK, font, anchor="ra")
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGBA")
    picture.alpha_composite(panel, (0, max(0, height - panel.height)))
    return np.asarray(picture.convert("RGB"))
