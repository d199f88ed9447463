"""Remarks on a dataset: facts worth knowing that are no errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from lightning.pytorch.utilities import rank_zero_info

Subject = Literal["classes", "counts", "groups", "missing", "names", "splits", "times"]


@dataclass(frozen=True)
class Remark:
    """One fact about a dataset that is worth knowing.

    Attributes:
        subject: Kind of fact.
        sentence: The fact, without a full stop.
    """

    subject: Subject
    sentence: str


class Remarks:
    """The remarks of one dataset: printed by the first rank, unless they are collected.

    Attributes:
        made: All so far.
    """

    def __init__(self) -> None:
        self.made: list[Remark] = []
        self._collected: list[Remark] | None = None

    def add(self, subject: Subject, sentence: str) -> None:
        """Print a remark, or add it to those that are collected.

        Args:
            subject: Kind of fact.
            sentence: The fact, without a full stop.
        """
        remark = Remark(subject, sentence)
        self.made.append(remark)
        if self._collected is None:
            rank_zero_info(sentence)
        else:
            self._collected.append(remark)

    @contextmanager
    def collected(self) -> Iterator[list[Remark]]:
        """Collect the remarks of a `with` block instead of printing them."""
        before, self._collected = self._collected, []
        try:
            yield self._collected
        finally:
            self._collected = before
