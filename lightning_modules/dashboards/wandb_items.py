"""Items as W&B shows them: media files, tables, and the native charts on tables."""

import io
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wandb

from datamodules.streaming.writing import VideoWriter
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

__all__ = ["as_wandb"]

MAX_CELLS = 10_000
"""Cells of a confusion matrix up to which it is a chart, too."""


def as_wandb(name: str, item: Item) -> dict[str, Any]:
    """Make what W&B logs of an item.

    Args:
        name: Its name.
        item: The item.

    Returns:
        W&B's values by their names; none where W&B has no form of it.
    """
    match item:
        case Picture(path):
            return {name: [wandb.Image(str(path))]}
        case Clips(clips):
            return {name: [_video(clip) for clip in clips]}
        case Table(columns, rows):
            cells = [[_cell(cell) for cell in row] for row in rows]
            return {name: wandb.Table(columns=list(columns), data=cells)}
        case Bars(of, value, values):
            return {name: wandb.plot.bar(_bars(of, value, values), of, value, title=name)}
        case Lines(along, points, lines):
            series = [list(line) for line in lines.values()]
            keys = list(lines)
            return {name: wandb.plot.line_series(list(points), series, keys, name, along)}
        case Confusion() if item.counts.size <= MAX_CELLS:
            return {name: _matrix(name, item)}
    return {}


def _bars(of: str, value: str, values: Any) -> wandb.Table:
    rows = [[key, None if math.isnan(number) else float(number)] for key, number in values.items()]
    return wandb.Table(columns=[of, value], data=rows)


def _cell(cell: str | float | Clip | None) -> Any:
    return _video(cell) if isinstance(cell, Clip) else cell


def _video(clip: Clip) -> wandb.Video:
    """Code a clip, as W&B's own coder is an extra package."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with VideoWriter(path, clip.frame_rate) as writer:
            for number, pixels in enumerate(clip.frames):
                writer.write(pixels, number / clip.frame_rate)
        content = path.read_bytes()
    return wandb.Video(io.BytesIO(content), caption=clip.caption or None, format="mp4")


def _matrix(name: str, matrix: Confusion) -> Any:
    """Make W&B's own confusion matrix, from counts: its function wants every sample."""
    names = matrix.class_names
    rows = [
        [names[truth], names[answer], int(matrix.counts[truth, answer])]
        for truth in range(len(names))
        for answer in range(len(names))
    ]
    columns: list[str | int] = ["Actual", "Predicted", "nPredictions"]
    table = wandb.Table(columns=columns, data=rows)
    fields = {str(column): str(column) for column in columns}
    return wandb.plot_table("wandb/confusion_matrix/v1", table, fields, {"title": name})
