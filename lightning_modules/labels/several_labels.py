"""Metrics of videos with several classes: average precision, and accuracy in columns.

N videos, K classes.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_modules.labels.columns import Columns

__all__ = [
    "AllColumnsRight",
    "ClassPrecision",
    "ColumnAccuracy",
    "ColumnConfusion",
    "MeanAveragePrecision",
    "average_precisions",
]


def average_precisions(scores: NDArray[Any], marks: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the average precision of each class: sum over thresholds of (R_n - R_(n-1)) P_n.

    Without equal scores this is the mean, over the videos of a class in their order by score, of
    the share of its videos among those up to there, as in Charades' `Charades_v1_classify.m`. Equal
    scores are one threshold, so that the order of the videos does not matter.

    Args:
        scores: (N, K), the higher the likelier.
        marks: Not 0 for the classes of each video, (N, K).

    Returns:
        (K,); NaN for classes without videos.
    """
    found = np.full(scores.shape[1], np.nan)
    for label, (column, marked) in enumerate(zip(scores.T, marks.T, strict=True)):
        if not marked.any():
            continue
        order = np.argsort(-column, kind="stable")
        ranked = column[order]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of equal scores
        right = np.cumsum(marked[order] != 0)[last]
        found[label] = np.sum(np.diff(right, prepend=0) * right / (last + 1)) / right[-1]
    return found


class ClassPrecision(Metric):
    """Exact average precision of each class and its number of videos, (K, 2).

    Unlike torchmetrics' own, scores are taken as they are: a batch of logits that happen to lie
    between 0 and 1 is not mixed with batches that went through a sigmoid.

    Args:
        num_classes: K.
        skips_unlabelled: If True, videos without a class do not count.
    """

    full_state_update = False
    scores: list[Tensor]
    marks: list[Tensor]

    def __init__(self, num_classes: int, skips_unlabelled: bool) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.skips_unlabelled = skips_unlabelled
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("marks", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, marks: Tensor) -> None:
        """Keep the scores of some videos, (N, K), and the marks of their classes, (N, K)."""
        self.scores.append(scores.float())
        self.marks.append(marks.to(torch.uint8))

    def compute(self) -> Tensor:
        """Compute them; see the class."""
        if not len(self.scores):
            return torch.tensor([[torch.nan, 0.0]]).repeat(self.num_classes, 1)
        scores = dim_zero_cat(self.scores).cpu().numpy()
        marks = dim_zero_cat(self.marks).cpu().numpy()
        if self.skips_unlabelled:
            labelled = marks.any(axis=1)
            scores, marks = scores[labelled], marks[labelled]
        precisions = average_precisions(scores, marks)
        return torch.from_numpy(np.stack([precisions, marks.sum(axis=0)], axis=1)).float()


class MeanAveragePrecision(ClassPrecision):
    """The mean of `ClassPrecision` over the classes that have videos; NaN where none has."""

    def compute(self) -> Tensor:
        """Compute it; see the class."""
        return super().compute()[:, 0].nanmean()


class ColumnAccuracy(Metric):
    """Share of the videos whose class of a column is among its k highest, of those that have one.

    Args:
        columns: Classes of each column.
        name: Name of the column.
        k: Number of guesses.
    """

    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self, columns: Columns, name: str, k: int = 1) -> None:
        super().__init__()
        self.columns, self.name, self.k = columns, name, k
        self.add_state("right", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, marks: Tensor) -> None:
        """Count the videos that are right; scores (N, K) and marks (N, K)."""
        index = self.columns.index(self.name, scores.device)
        guesses = scores[:, index].topk(self.k, dim=1).indices
        own = marks[:, index] > 0
        self.right += own.gather(1, guesses).any(dim=1).sum()
        self.total += own.any(dim=1).sum()

    def compute(self) -> Tensor:
        """Compute it; NaN without videos."""
        return self.right.float() / self.total


class AllColumnsRight(Metric):
    """Share of the videos of which every column is right, of those that have a class of each.

    Args:
        columns: Classes of each column.
    """

    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.columns = columns
        self.add_state("right", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, marks: Tensor) -> None:
        """Count the videos that are right; scores (N, K) and marks (N, K)."""
        right = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
        labelled = right.clone()
        for index in self.columns.indices(scores.device):
            guesses = scores[:, index].argmax(dim=1, keepdim=True)
            own = marks[:, index] > 0
            right &= own.gather(1, guesses)[:, 0]
            labelled &= own.any(dim=1)
        self.right += right.sum()  # only what is labelled can be right
        self.total += labelled.sum()

    def compute(self) -> Tensor:
        """Compute it; NaN without videos."""
        return self.right.float() / self.total


class ColumnConfusion(Metric):
    """Counts by true class (rows) and the class of its column that is taken for it, (K, K).

    Args:
        columns: Classes of each column.
        num_classes: K.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, columns: Columns, num_classes: int) -> None:
        super().__init__()
        self.columns = columns
        empty = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("counts", default=empty, dist_reduce_fx="sum")

    def update(self, scores: Tensor, marks: Tensor) -> None:
        """Count videos; scores (N, K) and marks (N, K)."""
        for index in self.columns.indices(scores.device):
            guesses = one_hot(scores[:, index].argmax(dim=1), len(index))
            pairs = (marks[:, index] > 0).double().T @ guesses.double()  # exact up to 2**53
            self.counts[index[:, None], index] += pairs.long()

    def compute(self) -> Tensor:
        """Compute them; see the class."""
        return self.counts
