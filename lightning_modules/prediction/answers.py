"""Answers: the classes that are named of a video or of a stretch of time, as the labels are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.annotations.label_form import LabelForm
from datamodules.annotations.text_files import read_csv
from datamodules.errors import UserError

__all__ = ["Answer", "Answers", "read_thresholds"]

TOP = 5
"""Classes that are named where a video has one of all."""

THRESHOLD = 0.5
"""Least probability of a class that is named where a video may have any number."""


class Answer(NamedTuple):
    """A class that is named.

    Attributes:
        label: Its name.
        probability: From 0 to 1.
        unlisted: Highest probability of the classes that are not named, of a column of those of the
            column; None where a video has one class of all, of which the named ones tell.
    """

    label: str
    probability: float
    unlisted: float | None


@dataclass(frozen=True)
class Answers:
    """The choice of the classes that are named.

    Args:
        form: What a label is.
        class_names: Names of the K classes.
        top: The most probable classes that are named, of columns those of each; None for 5 of all,
            1 of a column, or all that reach the threshold.
        threshold: Of any number of classes, the least probability of a named one; None for a half.
        thresholds: Least probability of single classes by name, instead of that.

    Raises:
        UserError: If a number is not possible, or thresholds are given where they have no meaning.
    """

    form: LabelForm
    class_names: Sequence[str]
    top: int | None = None
    threshold: float | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise UserError(f"top={self.top} is too small; give at least 1")
        given = [*([] if self.threshold is None else [self.threshold]), *self.thresholds.values()]
        if given and self.form.kind != "multi":
            raise UserError(
                f"a threshold has no meaning for labels of {self.form}, of which the most probable "
                "is named; leave it out"
            )
        wrong = [value for value in given if not 0 < value <= 1]
        if wrong:
            raise UserError(f"threshold={wrong[0]} is not possible; give one above 0 up to 1")
        unknown = [name for name in self.thresholds if name not in self.class_names]
        if unknown:
            raise UserError(
                f"the thresholds name {unknown[0]!r}, which is none of the {len(self.class_names)} "
                f"classes; those are {', '.join(self.class_names[:10])}"
            )

    @cached_property
    def _groups(self) -> list[list[int]]:
        """Classes of each column."""
        return list(self.form.groups(self.class_names).values())

    @cached_property
    def _least(self) -> Tensor:
        """Least probability of each class, (K,)."""
        usual = THRESHOLD if self.threshold is None else self.threshold
        return torch.tensor([self.thresholds.get(name, usual) for name in self.class_names])

    def choose(self, probabilities: Tensor, *, at_least_one: bool = False) -> list[Answer]:
        """Choose the classes that are named, the most probable first; columns in their order.

        Args:
            probabilities: Of each class, (K,).
            at_least_one: Name the most probable class though it does not reach its threshold.
        """
        if self.form.kind == "multi":
            return self._above(probabilities, at_least_one)
        if self.form.is_single:
            every = range(len(self.class_names))
            return [a._replace(unlisted=None) for a in self._best(probabilities, every, TOP)]
        of_columns = (self._best(probabilities, labels, 1) for labels in self._groups)
        return [answer for best in of_columns for answer in best]

    def _best(self, probabilities: Tensor, labels: Sequence[int], usual: int) -> list[Answer]:
        count = min(self.top or usual, len(labels))
        best = probabilities[list(labels)].sort(descending=True, stable=True)
        rest = float(best.values[count]) if count < len(labels) else 0.0
        pairs = zip(best.indices[:count].tolist(), best.values[:count].tolist(), strict=True)
        return [Answer(self.class_names[labels[i]], share, rest) for i, share in pairs]

    def _above(self, probabilities: Tensor, at_least_one: bool) -> list[Answer]:
        order = probabilities.sort(descending=True, stable=True).indices.tolist()
        reach = (probabilities >= self._least).tolist()
        named = [i for i in order if reach[i]][: self.top] or (order[:1] if at_least_one else [])
        rest = [i for i in order if i not in set(named)]
        unlisted = float(probabilities[rest[0]]) if rest else 0.0
        return [Answer(self.class_names[i], float(probabilities[i]), unlisted) for i in named]


def read_thresholds(path: Path) -> dict[str, float]:
    """Read a threshold for each class from a CSV file with the columns class and threshold.

    Args:
        path: The file; its first line may name the columns.

    Raises:
        UserError: If a line is something else, or names a class again.
    """
    found: dict[str, float] = {}
    for number, row in enumerate(read_csv(path), 1):
        if number == 1 and [cell.strip().lower() for cell in row] == ["class", "threshold"]:
            continue
        try:
            name, value = row
            if name in found:
                raise ValueError("the class is named again")
            found[name] = float(value)
        except ValueError as error:
            raise UserError(
                f"line {number} of {path} is no class and its threshold ({error}); write it as "
                "`Holding some clothes,0.35`"
            ) from error
    return found
