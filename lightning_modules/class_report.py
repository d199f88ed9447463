"""Accuracy by class and the confusion matrix, as files."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from lightning_modules.figures import confusion_figure
from lightning_modules.metrics import per_class_accuracy


def write_per_class(path: Path, class_names: Sequence[str], confusion: Tensor) -> None:
    """Write the columns class, videos, accuracy, and what the class is most often taken for.

    Args:
        path: The CSV file.
        class_names: Names of the K classes.
        confusion: Counts, (K, K), true class in rows.
    """
    mistakes = confusion.numpy().copy()
    np.fill_diagonal(mistakes, 0)
    accuracy = per_class_accuracy(confusion)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "videos", "accuracy", "most_often_taken_for", "so_often"])
        for label, name in enumerate(class_names):
            videos, other = int(confusion[label].sum()), int(mistakes[label].argmax())
            count = int(mistakes[label, other])
            share = f"{float(accuracy[label]):.6f}" if videos else ""
            writer.writerow([name, videos, share, class_names[other] if count else "", count])


def write_confusion(path: Path, class_names: Sequence[str], confusion: Tensor, title: str) -> None:
    """Draw the confusion matrix; see `confusion_figure`."""
    confusion_figure(confusion.numpy(), class_names, title).savefig(path, dpi=100)
