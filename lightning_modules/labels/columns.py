"""The classes of each column of the labels, as indices where they are needed."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Groups = Mapping[str, Sequence[int]]


class Columns:
    """Classes of each column, shared by all that divides scores by columns.

    Args:
        groups: Classes of each column by its name; none where there are no columns.
    """

    def __init__(self, groups: Groups) -> None:
        self._groups = dict(groups)
        self._indices: dict[tuple[str, torch.device], Tensor] = {}

    def place(self, groups: Groups) -> None:
        """Take over another order of the classes."""
        self._groups = dict(groups)
        self._indices.clear()

    def index(self, name: str, device: torch.device) -> Tensor:
        """Return the classes of a column on a device, (L,) int64."""
        if (name, device) not in self._indices:
            with torch.inference_mode(False):  # a training may use what a validation made
                self._indices[name, device] = torch.tensor(self._groups[name], device=device)
        return self._indices[name, device]

    def indices(self, device: torch.device) -> list[Tensor]:
        """Return the classes of every column on a device."""
        return [self.index(name, device) for name in self._groups]

    def sizes(self) -> dict[str, int]:
        """Return the number of classes of each column."""
        return {name: len(labels) for name, labels in self._groups.items()}
