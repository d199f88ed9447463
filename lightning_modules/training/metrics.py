"""The metrics of a split, fresh for each split so that no state leaks between them."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from datamodules.errors import UserError


def accuracy_metrics(
    num_classes: int, prefix: str, own: Mapping[str, Metric] | None = None
) -> MetricCollection:
    """Make top-1 accuracy, top-5 where there are more than five classes, and a user's own.

    Accuracies are plain fractions of samples (micro average), and the metrics share no state:
    torchmetrics' compute groups merge metrics of different k (a wrong top-5).

    Args:
        num_classes: K.
        prefix: Of the logged names, such as `val/`.
        own: Metrics beside them, by name; they are copied.

    Raises:
        UserError: If one of them has a name that is taken.
    """
    metrics: dict[str, Metric] = {"top1": MulticlassAccuracy(num_classes, top_k=1, average="micro")}
    if num_classes > 5:
        metrics["top5"] = MulticlassAccuracy(num_classes, top_k=5, average="micro")
    for name, metric in (own or {}).items():
        if name in {"top1", "top5", "loss", "mean_class", "broken_videos"}:
            raise UserError(f"model.metrics names {name!r}, which is logged already; rename it")
        metrics[name] = deepcopy(metric)
    return MetricCollection(dict(metrics), prefix=prefix, compute_groups=False)


def make_loss(own: nn.Module | None, label_smoothing: float) -> nn.Module:
    """Make the training loss: a user's own, or cross-entropy.

    Raises:
        UserError: If `label_smoothing` is out of range, or given beside an own loss.
    """
    if not 0 <= label_smoothing < 1:
        raise UserError(f"model.label_smoothing={label_smoothing} must lie in [0, 1)")
    if own is None:
        return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    if label_smoothing:
        raise UserError(
            f"model.label_smoothing={label_smoothing} is for cross-entropy, and model.loss is a "
            f"{type(own).__name__}; leave one of them out"
        )
    return own


def confusion_matrix(num_classes: int) -> MulticlassConfusionMatrix:
    """Make the metric that counts samples by true class (rows) and predicted class (columns)."""
    return MulticlassConfusionMatrix(num_classes)


def mean_metric() -> MeanMetric:
    """Make a mean weighted by the number of samples, right for batches of unequal size."""
    return MeanMetric()


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
