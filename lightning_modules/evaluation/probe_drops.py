"""The drop of each class under a probe: the same network on plain and on changed clips."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_modules.evaluation.comparison import Comparison
from lightning_modules.evaluation.score_files import Contest

Rows = list[list[str]]

WEIGHTS = "weights"
"""Part of a protocol that tells which weights were tested, by a digest."""

_OF_A_PROBE = ("probe", "probe_seed", "logits_dtype")
"""Parts of a protocol that a probe changes: itself, and how far its scores reach."""


@dataclass(frozen=True)
class ClassDrop:
    """A class with and without a probe, as fractions.

    Attributes:
        name: The class.
        videos: Number of tested videos.
        plain: Its accuracy on plain clips.
        probed: Its accuracy on changed clips.
        confused_with: The other class that its changed clips are most often taken for; empty where
            none is.
        confusion: The share of its changed clips that are taken for that class.
    """

    name: str
    videos: int
    plain: float
    probed: float
    confused_with: str
    confusion: float

    @property
    def drop(self) -> float:
        """Accuracy that the probe takes away."""
        return self.plain - self.probed


def differences_beside_probe(plain: Mapping[str, Any], probed: Mapping[str, Any]) -> list[str]:
    """Name the parts in which two tests differ, beside the probe; none for the same test.

    Tests whose weights are not known, as earlier versions did not store them, always differ.

    Args:
        plain: Protocol of one test.
        probed: Protocol of the other.
    """
    parts = [part for part in {**plain, **probed} if part not in _OF_A_PROBE]
    found = [part for part in parts if plain.get(part) != probed.get(part)]
    if not plain.get(WEIGHTS) and not probed.get(WEIGHTS):
        found.append(WEIGHTS)
    return found


def probed_contenders(contest: Contest) -> Iterator[int]:
    """Find the positions of contenders that are the first one's test but for a probe."""
    first = contest.contenders[0].protocol
    if first.get("probe"):
        return
    for position, contender in enumerate(contest.contenders):
        other = contender.protocol
        if other.get("probe") and not differences_beside_probe(first, other):
            yield position


def unmatched_probes(contest: Contest) -> Iterator[str]:
    """Say of each probed contender that is not the first one's test why no drop is shown."""
    first = contest.contenders[0]
    if first.protocol.get("probe"):
        return
    for contender in contest.contenders:
        found = differences_beside_probe(first.protocol, contender.protocol)
        if contender.protocol.get("probe") and found:
            yield (
                f"note: {contender.name} is not {first.name} under a probe: {', '.join(found)} "
                "differ, or are not known; no drop is shown"
            )


def class_drops(contest: Contest, found: Comparison, probed: int) -> list[ClassDrop]:
    """Compute the drop of each class that has videos, the greatest first.

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
    """Write headings and rows of `class_drops`, in percent."""
    names = [contest.contenders[position].name for position in (0, probed)]
    headings = ["class", *names, "drop", "now called", "so often", "videos"]
    rows = [
        [
            drop.name,
            f"{100 * drop.plain:.1f}",
            f"{100 * drop.probed:.1f}",
            f"{100 * drop.drop:.1f}",
            drop.confused_with,
            f"{100 * drop.confusion:.1f} %" if drop.confused_with else "",
            str(drop.videos),
        ]
        for drop in class_drops(contest, found, probed)
    ]
    return headings, rows
