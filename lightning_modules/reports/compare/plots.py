"""Plots of a comparison: intervals, classes, reliability, accuracy against cost."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from lightning_modules.evaluation.comparison import Comparison
from lightning_modules.evaluation.intervals import Estimate
from lightning_modules.evaluation.score_files import Contest
from lightning_modules.reports.compare.rows import total_cost
from lightning_modules.reports.page_plots import ACCENT, BAD, INK, MUTED, SECOND

COLORS = (ACCENT, SECOND, BAD, INK, MUTED)
"""Of the models, over again from the first where there are more."""

MARKERS = "osD^vPX"

FEWEST = 10
"""Videos in a bin of the reliability plot, averaged over the runs; fewer are not shown."""


def paint_intervals(axes: Axes, contest: Contest, found: Comparison, dot: str, line: str) -> None:
    """Draw the top-1 of each model as a dot on its interval."""
    estimates = [values["top1"] for values in found.accuracy]
    rows = np.arange(len(estimates))
    axes.errorbar(
        *(100 * np.array([e.value for e in estimates]), rows),
        xerr=_reach(estimates),
        fmt="o",
        color=dot,
        ecolor=line,
        capsize=4,
    )
    names = [contender.name for contender in contest.contenders]
    labels = [_label(*pair) for pair in zip(names, estimates, strict=True)]
    axes.set_yticks(rows, labels, parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"top-1 of {len(contest.video_ids):,} videos, %")
    axes.grid(axis="x", alpha=0.3)


def paint_gains(axes: Axes, gains: Sequence[tuple[str, Estimate]], models: bool = False) -> None:
    """Draw what classes or models gain, with intervals, losses in another colour."""
    for row, (_, gain) in enumerate(gains):
        color = ACCENT if gain.value > 0 else BAD
        axes.barh(row, 100 * gain.value, 0.55, color=color, alpha=0.45)
        axes.errorbar(
            100 * gain.value, row, xerr=_reach([gain]), fmt="o", color=color, ecolor=INK, capsize=3
        )
    labels = [_label(*gain) if models else gain[0] for gain in gains]
    axes.set_yticks(range(len(gains)), labels, parse_math=False)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_ylim(len(gains) - 0.5, -0.5)
    axes.set_xlabel("points of accuracy, 95 % intervals")
    axes.grid(axis="x", alpha=0.3)


def paint_reliability(axes: Axes, contest: Contest, found: Comparison) -> None:
    """Draw accuracy over confidence; the area of a mark is the share of videos in its bin."""
    axes.plot([0, 100], [0, 100], color=MUTED, linestyle="--", linewidth=1)
    for number, (contender, bins) in enumerate(
        zip(contest.contenders, found.calibration, strict=True)
    ):
        held = bins.share * len(contest.labels) >= FEWEST
        color = COLORS[number % len(COLORS)]
        confidence, accuracy = 100 * bins.confidence[held], 100 * bins.accuracy[held]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(confidence, accuracy, color=color, linewidth=1, alpha=0.6)
        sizes = 12 + 300 * bins.share[held]
        axes.scatter(confidence, accuracy, sizes, color=color, marker=marker, alpha=0.7)
        axes.plot([], [], color=color, marker=marker, label=contender.name)
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 102)
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("right, %")
    axes.legend(loc="upper left", fontsize=9)
    axes.grid(alpha=0.3)


def paint_cost(axes: Axes, contest: Contest, found: Comparison) -> None:
    """Draw top-1 over the multiply-adds of all views, on a logarithmic axis."""
    points = [
        (cost, values["top1"], contender.name)
        for contender, values in zip(contest.contenders, found.accuracy, strict=True)
        if (cost := total_cost(contender)) is not None
    ]
    for number, (cost, top1, name) in enumerate(points):
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        axes.errorbar(
            *(cost, 100 * top1.value),
            yerr=_reach([top1]),
            fmt=marker,
            color=color,
            capsize=4,
            label=name,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("GMACs of all views")
    axes.set_ylabel("top-1, %")
    axes.margins(x=0.15)
    axes.legend(loc="best", fontsize=9)
    axes.grid(alpha=0.3)


def _label(name: str, estimate: Estimate) -> str:
    return name if estimate.runs else f"{name} (one run)"


def _reach(estimates: Sequence[Estimate]) -> np.ndarray:
    """Compute how far intervals reach down and up, in percent, (2, M)."""
    return 100 * np.array(
        [[e.value - e.low for e in estimates], [e.high - e.value for e in estimates]]
    )
