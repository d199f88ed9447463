"""What is worth knowing about a dataset though nothing is wrong with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from lightning.pytorch.utilities import rank_zero_info

Subject = Literal["classes", "counts", "missing", "names", "splits", "times", "views"]


@dataclass(frozen=True)
class Remark:
    """One thing that is worth knowing about a dataset.

    Attributes:
        subject: What it is about.
        sentence: What it is, without a full stop.
    """

    subject: Subject
    sentence: str


class Remarks:
    """The remarks of one dataset: said by the first rank, unless somebody collects them."""

    def __init__(self) -> None:
        self._collected: list[Remark] | None = None

    def add(self, subject: Subject, sentence: str) -> None:
        """Say a remark, or give it to whom collects them.

        Args:
            subject: What it is about.
            sentence: What it is, without a full stop.
        """
        if self._collected is None:
            rank_zero_info(sentence)
        else:
            self._collected.append(Remark(subject, sentence))

    @contextmanager
    def collected(self) -> Iterator[list[Remark]]:
        """Collect the remarks of a `with` block instead of saying them."""
        before, self._collected = self._collected, []
        try:
            yield self._collected
        finally:
            self._collected = before
