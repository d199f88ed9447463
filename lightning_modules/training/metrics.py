"""The metrics of a split, fresh for each split so that no state leaks between them."""

from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix


def accuracy_metrics(num_classes: int, prefix: str) -> MetricCollection:
    """Top-1 accuracy, and top-5 where there are more than five classes.

    Accuracies are plain fractions of samples (micro average), and the metrics share no state:
    torchmetrics' compute groups merge metrics of different k (a wrong top-5).
    """
    metrics = {"top1": MulticlassAccuracy(num_classes, top_k=1, average="micro")}
    if num_classes > 5:
        metrics["top5"] = MulticlassAccuracy(num_classes, top_k=5, average="micro")
    return MetricCollection(dict(metrics), prefix=prefix, compute_groups=False)


def confusion_matrix(num_classes: int) -> MulticlassConfusionMatrix:
    """Counts of samples by true class (rows) and predicted class (columns)."""
    return MulticlassConfusionMatrix(num_classes)


def mean_metric() -> MeanMetric:
    """A mean weighted by the number of samples, right for batches of unequal size."""
    return MeanMetric()


def per_class_accuracy(confusion: Tensor) -> Tensor:
    """Accuracy of each class.

    Args:
        confusion: Counts, (K, K), true class in rows.

    Returns:
        Fractions, (K,), NaN for classes without samples.
    """
    counts = confusion.double()
    return counts.diagonal() / counts.sum(dim=1)
