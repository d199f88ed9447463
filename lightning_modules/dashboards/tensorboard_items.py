"""Items as TensorBoard shows them: pictures, and tables as text."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightning_modules.dashboards.items import (
    Bars,
    Clip,
    Clips,
    Confusion,
    Item,
    Lines,
    Picture,
    Table,
)
from lightning_modules.dashboards.markdown import markdown_table
from lightning_modules.runs.tensorboard import TensorBoard

__all__ = ["to_tensorboard"]

MAX_CLIPS = 8
"""Clips that are shown, one below the other, their frames side by side."""


def to_tensorboard(logger: TensorBoard, name: str, item: Item, step: int) -> None:
    """Log an item; clips become strips of their frames, charts become tables.

    Args:
        logger: The logger.
        name: The item's name.
        item: The item.
        step: Step that it belongs to.
    """
    match item:
        case Picture(path):
            with Image.open(path) as picture:
                logger.log_pixels(name, np.asarray(picture.convert("RGB")), step)
        case Clips(clips):
            logger.log_pixels(name, strips(clips[:MAX_CLIPS]), step)
        case Table(columns, rows):
            logger.log_text(name, _table(columns, rows), step)
        case Bars(of, value, values):
            rows = [[key, f"{number:.4f}"] for key, number in values.items()]
            logger.log_text(name, _table([of, value], rows), step)
        case Lines(along, points, lines):
            rows = [
                [f"{point:g}", *(f"{line[i]:.4f}" for line in lines.values())]
                for i, point in enumerate(points)
            ]
            logger.log_text(name, _table([along, *lines], rows), step)
        case Confusion():
            pass  # its picture is an item of its own


def strips(clips: Sequence[Clip]) -> NDArray[np.uint8]:
    """Set the frames of clips of one size side by side, and the clips one below the other."""
    return np.concatenate([np.concatenate([*clip.frames], axis=1) for clip in clips], axis=0)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a table; a clip is named by its caption."""
    return markdown_table(columns, [list(map(_shown, row)) for row in rows])


def _shown(cell: object) -> object:
    if isinstance(cell, Clip):
        return cell.caption
    return "" if cell is None else cell
