"""Accuracy under corruptions in a few numbers, and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.atomic import writing_text
from datamodules.clips.corruptions.catalogue import CORRUPTIONS, FAMILIES, Corruption
from datamodules.csv_tables import write_rows

__all__ = ["Outcome", "Robustness", "absolute", "relative", "write_table"]


@dataclass(frozen=True)
class Outcome:
    """One test on corrupted clips.

    Attributes:
        corruption: The corruption.
        accuracy: Top-1 video accuracy, in percent.
        scores: Its score file.
    """

    corruption: Corruption
    accuracy: float
    scores: Path


@dataclass(frozen=True)
class Robustness:
    """A network on plain and on corrupted clips.

    Attributes:
        plain: Top-1 video accuracy on plain clips, in percent.
        tests: The corrupted tests.
    """

    plain: float
    tests: Sequence[Outcome]

    def accuracy(self, family: str | None = None) -> float:
        """Average the accuracy over corrupted tests, in percent.

        Every corruption counts alike, whatever the number of its severities.

        Args:
            family: Tests to average; None for all.
        """
        names = [name for name, kind in CORRUPTIONS.items() if family in (None, kind.family)]
        each = [
            [test.accuracy for test in self.tests if test.corruption.name == name] for name in names
        ]
        return float(np.mean([np.mean(values) for values in each if values]))

    @property
    def families(self) -> list[str]:
        """The families that were tested."""
        tested = {CORRUPTIONS[test.corruption.name].family for test in self.tests}
        return [family for family in FAMILIES if family in tested]

    def sentence(self) -> str:
        """Say it in a line."""
        mean = self.accuracy()
        parts = [f"{family} {self.accuracy(family):.2f} %" for family in self.families]
        ratio = relative(self.plain, mean)
        return (
            f"plain top-1 {self.plain:.2f} %, mean of {len(self.tests)} corrupted test(s) "
            f"{mean:.2f} % ({', '.join(parts)}): absolute robustness "
            f"{absolute(self.plain, mean):.3f}, relative "
            f"{'not defined at 0 %' if ratio is None else f'{ratio:.3f}'}"
        )


def absolute(plain: float, corrupted: float) -> float:
    """Compute absolute robustness, 1 - (A_c - A_p) / 100 (Schiappa et al., arXiv 2207.01398).

    Args:
        plain: Accuracy on clean clips, A_c, in percent.
        corrupted: Accuracy on perturbed clips, A_p, in percent.
    """
    return 1 - (plain - corrupted) / 100


def relative(plain: float, corrupted: float) -> float | None:
    """Compute relative robustness, 1 - (A_c - A_p) / A_c (same source); None for A_c = 0."""
    return None if plain == 0 else 1 - (plain - corrupted) / plain


def write_table(path: Path, found: Robustness) -> None:
    """Write a row for the plain test and each corrupted one; accuracy in percent."""
    rows: list[list[object]] = [
        ["family", "corruption", "severity", "parameter", "top1", "absolute", "relative", "scores"],
        ["", "none", 0, "", f"{found.plain:.4f}", "1.000000", "1.000000", ""],
    ]
    for test in found.tests:
        corruption, ratio = test.corruption, relative(found.plain, test.accuracy)
        rows.append(
            [
                CORRUPTIONS[corruption.name].family,
                corruption.name,
                corruption.severity,
                str(corruption.strength),
                f"{test.accuracy:.4f}",
                f"{absolute(found.plain, test.accuracy):.6f}",
                "" if ratio is None else f"{ratio:.6f}",
                test.scores.name,
            ]
        )
    with writing_text(path, newline="") as file:
        write_rows(file, rows)
