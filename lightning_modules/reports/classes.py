"""Accuracy by class and the confusion matrix, as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from datamodules.annotations.label_form import LabelForm
from datamodules.csv_tables import write_rows
from lightning_modules.dashboards.items import Bars, Confusion, Item, Picture
from lightning_modules.labels.metrics import class_values, per_class_accuracy
from lightning_modules.reports.fonts import fonts_for, name_ticks

MAX_NAMED_CLASSES = 40
"""Class names are written along the axes up to this many classes."""


def write_classes(
    table: Path,
    picture: Path,
    title: str,
    form: LabelForm,
    class_names: Sequence[str],
    by_class: Tensor,
) -> None:
    """Write what a test or validation tells of each class.

    Args:
        table: CSV file, see `write_per_class` and `write_precisions`.
        picture: PNG file of the confusion matrix, which any number of classes does not have.
        title: Written above the picture.
        form: What a label is.
        class_names: Names of the K classes.
        by_class: What a `class_metric` computes.
    """
    if form.kind == "multi":
        write_precisions(table, class_names, by_class)
    else:
        write_per_class(table, class_names, by_class)
        write_confusion(picture, class_names, by_class, title)


def items_of_classes(
    picture: Path, form: LabelForm, class_names: Sequence[str], by_class: Tensor
) -> dict[str, Item]:
    """Show in dashboards what `write_classes` wrote.

    Args:
        picture: The confusion matrix.
        form: What a label is.
        class_names: Names of the K classes.
        by_class: What a `class_metric` computes.
    """
    items: dict[str, Item] = {"per_class": bars_of_classes(form, class_names, by_class)}
    if form.kind != "multi":
        items["confusion"] = Picture(picture)
        items["confusion_matrix"] = Confusion(by_class.numpy(), class_names)
    return items


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
    rows: list[list[object]] = [
        ["class", "videos", "accuracy", "most_often_taken_for", "so_often"],
    ]
    for label, name in enumerate(class_names):
        videos, other = int(confusion[label].sum()), int(mistakes[label].argmax())
        count = int(mistakes[label, other])
        share = f"{float(accuracy[label]):.6f}" if videos else ""
        rows.append([name, videos, share, class_names[other] if count else "", count])
    with path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, rows)


def write_precisions(path: Path, class_names: Sequence[str], by_class: Tensor) -> None:
    """Write the columns class, videos and average precision, where a video may have any number.

    Args:
        path: The CSV file.
        class_names: Names of the K classes.
        by_class: Average precision and number of videos of each, (K, 2).
    """
    rows: list[list[object]] = [["class", "videos", "average_precision"]]
    for name, (precision, videos) in zip(class_names, by_class.tolist(), strict=True):
        rows.append([name, int(videos), f"{precision:.6f}" if videos else ""])
    with path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, rows)


def write_confusion(path: Path, class_names: Sequence[str], confusion: Tensor, title: str) -> None:
    """Draw the confusion matrix; see `confusion_figure`."""
    with fonts_for(class_names):
        confusion_figure(confusion.numpy(), class_names, title).savefig(path, dpi=100)


def confusion_figure(confusion: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix, each row scaled to its number of videos.

    Args:
        confusion: Counts, (K, K), true class in rows, predicted class in columns.
        class_names: Names of the K classes.
        title: Written above.

    Returns:
        The figure; not registered with pyplot, so it is freed with its last reference.
    """
    num_classes = len(class_names)
    totals = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(totals, 1)
    named = num_classes <= MAX_NAMED_CLASSES
    side = min(12.0, 3.5 + 0.3 * num_classes) if named else 9.0
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    accuracy = confusion.trace() / max(1, confusion.sum())
    axes.set_title(f"{title}: {100 * accuracy:.1f} % of {int(confusion.sum())} videos")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if named:
        name_ticks(axes.xaxis, class_names, rotation=60, ha="right", fontsize=8)
        name_ticks(axes.yaxis, class_names, fontsize=8)
    if num_classes <= 15:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else "black"
            text = str(int(confusion[row, column]))
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    return figure


def bars_of_classes(form: LabelForm, class_names: Sequence[str], by_class: Tensor) -> Bars:
    """Show the accuracy or average precision of each class.

    Args:
        form: What a label is.
        class_names: Names of the K classes.
        by_class: What a `class_metric` computes.
    """
    what = "average_precision" if form.kind == "multi" else "accuracy"
    values = class_values(form, by_class).tolist()
    return Bars("class", what, dict(zip(class_names, values, strict=True)))
