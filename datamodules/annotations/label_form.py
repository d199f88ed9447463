"""LabelForm: one class of a video, any number of classes, or one class of each of several columns.

N videos, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError

__all__ = ["SEPARATOR", "SINGLE", "Kind", "LabelForm"]

Kind = Literal["single", "multi", "columns"]
Unlabelled = Literal["negative", "left_out"]

SEPARATOR = ";"
"""Between the classes of a video, where it has several."""

COLUMN_END = ":"
"""Between a column and its class in the class's name, such as `verb:open`."""


@dataclass(frozen=True)
class LabelForm:
    """A description of labels, which a checkpoint and a score file hold.

    Attributes:
        kind: `single`: one class of all, a softmax over them; `multi`: any number of classes, a
            sigmoid for each; `columns`: one class, or none, of each column, a softmax over each.
        columns: Names of the columns; a class belongs to that which its name begins with.
        unlabelled: Of `multi`, videos without any class: they show none (`negative`), or nobody
            said what they show, so that no score counts them (`left_out`); training shows them.

    Raises:
        UserError: If there is no such form.
    """

    kind: Kind = "single"
    columns: tuple[str, ...] = ()
    unlabelled: Unlabelled = "negative"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        known = self.kind in get_args(Kind) and self.unlabelled in get_args(Unlabelled)
        if not known or (self.kind == "columns") != bool(self.columns):
            raise UserError(
                f"{self} is no form of labels; its kind is one of {', '.join(get_args(Kind))}, and "
                "columns alone has names of columns"
            )
        if "action" in self.columns:
            raise UserError(
                "no column of labels can be called action, as action_top1 is the accuracy of all "
                "columns together; rename it"
            )

    @classmethod
    def of(cls, description: Mapping[str, Any] | None) -> "LabelForm":
        """Make the form that `as_dict` described; one class of all where there is none.

        Raises:
            UserError: If it is no form of this version.
        """
        try:
            return cls(**(description or {}))
        except TypeError as error:
            raise UserError(
                f"{description} is no form of labels of this version ({error}); give the file as "
                "it was written, or the version of kinetoscope that wrote it"
            ) from error

    def as_dict(self) -> dict[str, Any]:
        """Describe it in plain values."""
        return {"kind": self.kind, "columns": list(self.columns), "unlabelled": self.unlabelled}

    @property
    def is_single(self) -> bool:
        """True if every video has one class of all."""
        return self.kind == "single"

    @property
    def headline(self) -> str:
        """Name of the metric that chooses the best checkpoint."""
        return {"single": "top1", "multi": "mAP", "columns": "action_top1"}[self.kind]

    def __str__(self) -> str:
        words = {
            "single": "one class of a video",
            "multi": "any number of classes of a video",
            "columns": f"a class of each column ({', '.join(self.columns)})",
        }
        return words.get(self.kind, repr(self.kind))

    def classes_in(self, written: str) -> list[str]:
        """List the classes in a label as a list of videos holds it."""
        if self.is_single:
            return [written]
        return [name for part in written.split(SEPARATOR) if (name := part.strip())]

    def groups(self, class_names: Sequence[str]) -> dict[str, list[int]]:
        """Find the classes of each column.

        Args:
            class_names: Names of the K classes.

        Returns:
            Labels by column.

        Raises:
            UserError: If a class belongs to no column, or a column has fewer than two classes.
        """
        groups: dict[str, list[int]] = {column: [] for column in self.columns}
        for label, name in enumerate(class_names):
            column, end, _ = name.partition(COLUMN_END)
            if not end or column not in groups:
                raise UserError(
                    f"the class {name!r} belongs to none of the columns {', '.join(self.columns)}; "
                    f"write it as {self.columns[0]}{COLUMN_END}{name}"
                )
            groups[column].append(label)
        for column, labels in groups.items():
            if len(labels) < 2:
                raise UserError(
                    f"the column {column} has {len(labels)} class(es), but at least 2 are needed; "
                    "complete it, or leave it out of data.label_columns"
                )
        return groups

    def matrix(
        self, labels: Iterable[str], index: Mapping[str, int], count: int
    ) -> NDArray[np.uint8]:
        """Mark the classes of each video, (N, K).

        Args:
            labels: Labels as the list holds them, N of them.
            index: Class as it is written -> label.
            count: N.

        Raises:
            KeyError: If a class is not known.
            UserError: If a video has two classes of a column.
        """
        marks = np.zeros((count, max(index.values(), default=-1) + 1), np.uint8)
        for row, written in zip(marks, labels, strict=True):
            names = self.classes_in(written)
            row[[index[name] for name in names]] = 1
            if self.columns and len({name.partition(COLUMN_END)[0] for name in names}) < len(names):
                raise UserError(f"the label {written!r} names two classes of a column; name one")
        return marks

    def named(self, label: int | Iterable[int], class_names: Sequence[str]) -> str:
        """Name the classes of a video.

        Args:
            label: Its label: a number, or a mark for each class, (K,).
            class_names: Names of the K classes.
        """
        if isinstance(label, int | np.integer):
            return class_names[int(label)]
        return f"{SEPARATOR} ".join(
            name for name, mark in zip(class_names, label, strict=True) if mark
        )


SINGLE = LabelForm()
"""One class of a video."""
