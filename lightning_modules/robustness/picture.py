"""Accuracy against severity, a line for each corruption."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datamodules.clips.corruptions.catalogue import CORRUPTIONS
from lightning_modules.robustness.summary import Robustness

__all__ = ["draw_severities"]


def draw_severities(path: Path, found: Robustness, title: str) -> None:
    """Draw a panel for each family; severity 0 is the plain test.

    Args:
        path: The PNG file.
        found: The tests.
        title: Written above.
    """
    families = found.families
    figure = Figure(figsize=(3.4 * len(families) + 0.6, 4.4), layout="constrained")
    panels = figure.subplots(1, len(families), sharey=True, squeeze=False)[0]
    for axes, family in zip(panels, families, strict=True):
        _draw_family(axes, found, family)
    panels[0].set_ylabel("top-1, %")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=100)


def _draw_family(axes: Axes, found: Robustness, family: str) -> None:
    """Draw the corruptions of one family."""
    for name, kind in CORRUPTIONS.items():
        tests = [test for test in found.tests if test.corruption.name == name]
        if kind.family == family and tests:
            severities = [0, *(test.corruption.severity for test in tests)]
            accuracies = [found.plain, *(test.accuracy for test in tests)]
            axes.plot(severities, accuracies, marker="o", markersize=3, label=name)
    axes.axhline(found.plain, color="grey", linewidth=0.8, linestyle=":")
    axes.set_title(f"{family}: {found.accuracy(family):.1f} % on average", fontsize=9)
    axes.set_xlabel("severity")
    axes.set_xticks(range(6))
    axes.set_xlim(-0.2, 5.2)
    axes.set_ylim(0, 102)
    axes.grid(alpha=0.25)
    # below, as it would lie on some line anywhere inside
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
