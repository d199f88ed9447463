"""The metrics of a split, fresh for each split so that no state leaks between them."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from datamodules.annotations.label_form import LabelForm
from datamodules.errors import UserError
from lightning_modules.labels.columns import Columns
from lightning_modules.labels.several_labels import (
    AllColumnsRight,
    ClassPrecision,
    ColumnAccuracy,
    ColumnConfusion,
    MeanAveragePrecision,
)

OwnMetrics = Mapping[str, Metric] | None

TRAIN = "train/"
"""Prefix of the training's metrics."""

_TAKEN = ("top1", "top5", "mAP", "loss", "mean_class", "broken_videos")
"""Names that are logged of some labels."""


def make_metrics(
    form: LabelForm, columns: Columns, num_classes: int, prefix: str, own: OwnMetrics = None
) -> MetricCollection:
    """Make the metrics of a split, as the labels are, and a user's own.

    Top-1 accuracy, and top-5 where there are more than five classes; of columns the same of each
    and `action_top1`, all of them right; of any number of classes mean average precision, which the
    training goes without, as it needs all scores of an epoch. Accuracies are plain fractions of
    samples (micro average), and the metrics share no state: torchmetrics' compute groups merge
    metrics of different k (a wrong top-5). They do not check the values that they are given, for
    which this process would wait for the device at every step.

    Args:
        form: What a label is.
        columns: Classes of each column.
        num_classes: K.
        prefix: Of the logged names, such as `val/`.
        own: Metrics beside them, by name; they are copied.

    Raises:
        UserError: If one of them has a name that is taken.
    """
    metrics: dict[str, Metric] = {}
    if form.is_single:
        metrics = _accuracies(num_classes)
    elif form.kind == "columns":
        metrics = _column_accuracies(columns)
    elif prefix != TRAIN:
        metrics["mAP"] = MeanAveragePrecision(num_classes, form.unlabelled == "left_out")
    for name, metric in (own or {}).items():
        if name in {*metrics, *_TAKEN}:
            raise UserError(f"model.metrics names {name!r}, which is logged already; rename it")
        metrics[name] = deepcopy(metric)
    return MetricCollection(dict(metrics), prefix=prefix, compute_groups=False)


def _accuracies(num_classes: int) -> dict[str, Metric]:
    tops = [1, 5] if num_classes > 5 else [1]
    return {
        f"top{k}": MulticlassAccuracy(num_classes, top_k=k, average="micro", validate_args=False)
        for k in tops
    }


def _column_accuracies(columns: Columns) -> dict[str, Metric]:
    metrics: dict[str, Metric] = {"action_top1": AllColumnsRight(columns)}
    for column, size in columns.sizes().items():
        for k in (1, 5) if size > 5 else (1,):
            metrics[f"{column}_top{k}"] = ColumnAccuracy(columns, column, k)
    return metrics


def class_metric(form: LabelForm, columns: Columns, num_classes: int) -> Metric:
    """Make the metric that tells of each class.

    Returns:
        Counts by true class (rows) and predicted class (columns), (K, K), of columns within each;
        of any number of classes average precision and number of videos, (K, 2).
    """
    if form.is_single:
        return MulticlassConfusionMatrix(num_classes, validate_args=False)
    if form.kind == "columns":
        return ColumnConfusion(columns, num_classes)
    return ClassPrecision(num_classes, form.unlabelled == "left_out")


def class_values(form: LabelForm, by_class: Tensor) -> Tensor:
    """Compute the accuracy or average precision of each class.

    Args:
        form: What a label is.
        by_class: What its `class_metric` computes.

    Returns:
        Fractions, (K,), NaN for classes without samples.
    """
    return by_class[:, 0] if form.kind == "multi" else per_class_accuracy(by_class)


def mean_metric() -> MeanMetric:
    """Make a mean weighted by the number of samples, right for batches of unequal size.

    A loss that is no number makes it none.
    """
    return MeanMetric(nan_strategy="disable")


def refuse_not_finite(scores: Tensor, video_ids: Sequence[str]) -> None:
    """Refuse scores that are not finite, of which no accuracy or label has a meaning.

    Args:
        scores: Of each video, (N, ...).
        video_ids: Names of the N videos.

    Raises:
        UserError: If some are NaN or infinite; the first such video is named.
    """
    finite = torch.isfinite(scores.flatten(1)).all(dim=1)
    if not finite.all():
        first = video_ids[int(finite.int().argmin())]
        raise UserError(
            f"the network's scores of {first} are not finite, so nothing can be said of it: either "
            "its weights are not, as after a training that diverged, or its arithmetic overflows; "
            "take an earlier checkpoint, or a higher precision"
        )


def per_class_accuracy(confusion: Tensor) -> Tensor:
    """Compute the accuracy of each class.

    Args:
        confusion: Counts, (K, K), true class in rows.

    Returns:
        Fractions, (K,), NaN for classes without samples.
    """
    counts = confusion.double()
    return counts.diagonal() / counts.sum(dim=1)
