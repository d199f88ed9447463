"""Accuracy against difficulty: what was tested, and the curves through it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_modules.benchmarking.thresholds import AXES, HALF_WAY, Axis, Curve
from lightning_modules.reports.page_plots import MUTED

__all__ = ["draw_curves"]

_COLUMNS = 3


def draw_curves(path: Path, axes: Mapping[str, list[dict[str, Any]]], look: str) -> None:
    """Draw a panel for each axis, a colour for each network, a curve for each run.

    Args:
        path: The PNG file.
        axes: The tested networks of each axis, as in `benchmark.json`.
        look: Of the clips.
    """
    columns = min(_COLUMNS, len(axes))
    rows = -(-len(axes) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows + 1.2), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for panel in panels[len(axes) :]:
        panel.set_axis_off()
    for panel, (axis, networks) in zip(panels, axes.items(), strict=False):
        _draw_axis(panel, AXES[axis], networks)
    shown: dict[str, Artist] = {}
    for panel in panels:
        handles, names = panel.get_legend_handles_labels()
        shown |= dict(zip(names, handles, strict=True))
    entries = (list(shown.values()), list(shown))
    figure.legend(*entries, loc="outside lower center", ncols=2 * columns, fontsize=8)
    figure.suptitle(f"MotionShapes, {look}\ntrained on the easiest clips, tested on harder ones")
    figure.savefig(path, dpi=110)


def _draw_axis(panel: Axes, axis: Axis, networks: list[dict[str, Any]]) -> None:
    """Draw the networks along one axis, the easiest on the left."""
    difficulty = axis.difficulty(axis.levels)
    fine = np.linspace(0, float(difficulty[-1]), 200)
    for number, one in enumerate(networks):
        colour = f"C{number % 10}"
        for top1, values in zip(one["top1"], one["curves"], strict=True):
            panel.plot(difficulty, 100 * np.array(top1), "o", color=colour, markersize=3, alpha=0.6)
            panel.plot(fine, 100 * Curve(**values).accuracy(fine), color=colour, linewidth=1)
        panel.plot([], [], color=colour, marker="o", label=one["name"])
    for level in (HALF_WAY, 0.5, 0.125):
        panel.axhline(100 * level, color=MUTED, linewidth=0.8, linestyle=":")
    panel.set_xticks(difficulty, [f"{level:g}" for level in axis.levels])
    panel.set_xlabel(axis.title)
    panel.set_ylabel("top-1, %")
    panel.set_ylim(0, 102)
    panel.grid(alpha=0.25)
