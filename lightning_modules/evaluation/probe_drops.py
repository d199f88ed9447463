"""What a probe costs each class: the same network on plain and on changed clips."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lightning_modules.evaluation.comparison import Comparison
from lightning_modules.evaluation.score_files import Contest

Rows = list[list[str]]


@dataclass(frozen=True)
class ClassDrop:
    """A class with and without a probe, as fractions.

    Attributes:
        name: The class.
        videos: How many were tested.
        plain: Its accuracy on plain clips.
        probed: The same on changed clips.
        called: What else its changed clips are called most often; empty where never.
        so_often: The share of them.
    """

    name: str
    videos: int
    plain: float
    probed: float
    called: str
    so_often: float

    @property
    def drop(self) -> float:
        """Accuracy that the probe takes away."""
        return self.plain - self.probed


def probed_contenders(contest: Contest) -> Iterator[int]:
    """Positions of the contenders that are the first one's network under a probe."""
    first = contest.contenders[0].protocol
    if first.get("probe"):
        return
    for position, contender in enumerate(contest.contenders):
        same = contender.protocol.get("network") == first.get("network")
        if same and contender.protocol.get("probe"):
            yield position


def class_drops(contest: Contest, found: Comparison, probed: int) -> list[ClassDrop]:
    """What a probe does to each class that has videos, the greatest drop first.

    Args:
        contest: Its first contender is the plain test.
        found: The comparison of the contest.
        probed: Position of the probed contender.
    """
    totals = np.bincount(contest.labels, minlength=len(contest.class_names))
    drops = []
    for label in np.flatnonzero(totals).tolist():
        others = found.confusion[probed, label].copy()
        others[label] = 0.0
        most = int(others.argmax())
        drops.append(
            ClassDrop(
                contest.class_names[label],
                int(totals[label]),
                float(found.per_class[0, label]),
                float(found.per_class[probed, label]),
                contest.class_names[most] if others[most] else "",
                float(others[most]),
            )
        )
    return sorted(drops, key=lambda drop: -drop.drop)


def drop_rows(contest: Contest, found: Comparison, probed: int) -> tuple[list[str], Rows]:
    """Headings and rows of `class_drops`, in percent."""
    names = [contest.contenders[position].name for position in (0, probed)]
    headings = ["class", *names, "drop", "now called", "so often", "videos"]
    rows = [
        [
            drop.name,
            f"{100 * drop.plain:.1f}",
            f"{100 * drop.probed:.1f}",
            f"{100 * drop.drop:.1f}",
            drop.called,
            f"{100 * drop.so_often:.1f} %" if drop.called else "",
            str(drop.videos),
        ]
        for drop in class_drops(contest, found, probed)
    ]
    return headings, rows
