"""Plots as SVG that follow the colours of the page around them, light or dark."""

import io
import re
from collections.abc import Callable
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_modules.reports.fonts import fonts_for

# colours that matplotlib writes, and the page's own that take their place
INK, MUTED, ACCENT, SECOND, BAD = "#010101", "#020202", "#030303", "#040404", "#050505"
PAGE_COLORS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    BAD: "var(--bad)",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
}
WIDTH, HEIGHT = 5.6, 3.0


def draw(paint: Callable[[Axes], None], height: float = HEIGHT) -> str:
    """Draw a plot as an SVG element without fixed size or colours.

    Args:
        paint: Draws into the axes.
        height: Of the figure, in inches.
    """
    with rc_context(STYLE), fonts_for(()):  # the browser, not matplotlib, writes the text
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="\w+"', "<g", svg)  # the same in every figure, and never referred to
    svg = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"| height="[\d.]+pt"', "", svg, count=1)
    return re.sub("|".join(PAGE_COLORS), lambda match: PAGE_COLORS[match[0]], svg)
