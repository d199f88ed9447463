"""The results of a test in a few numbers and a sentence, as the labels are."""

from collections.abc import Mapping

from torch import Tensor

from datamodules.annotations.label_form import LabelForm
from lightning_modules.labels.metrics import class_values

PREFIX = "test/"
"""Of the metrics of a test."""


def figures_of_test(
    form: LabelForm,
    groups: Mapping[str, list[int]],
    metrics: Mapping[str, Tensor],
    by_class: Tensor,
) -> dict[str, float]:
    """Collect the results of a test by name.

    Args:
        form: What a label is.
        groups: Classes of each column.
        metrics: Metrics of the test by their logged names.
        by_class: What the test tells of each class.

    Returns:
        `top1` and `mean_class`; of columns `action_top1` and both of each; else `mAP`.
    """
    values = class_values(form, by_class)
    found = {form.headline: float(metrics[PREFIX + form.headline])}
    if form.is_single:
        found["mean_class"] = float(values.nanmean())
    for column, labels in groups.items():
        found[f"{column}_top1"] = float(metrics[f"{PREFIX}{column}_top1"])
        found[f"{column}_mean_class"] = float(values[labels].nanmean())
    return found


def sentence_of_test(form: LabelForm, figures: Mapping[str, float], by_class: Tensor) -> str:
    """Write the results of a test in a sentence.

    Args:
        form: What a label is.
        figures: From `figures_of_test`.
        by_class: What the test tells of each class.
    """
    if form.is_single:
        top1, mean_class = (f"{100 * figures[name]:.2f} %" for name in ("top1", "mean_class"))
        return f"video accuracy: top-1 {top1}, mean over classes {mean_class}"
    if form.kind == "multi":
        counted = int((by_class[:, 1] > 0).sum())
        return (
            f"mAP of the videos: {100 * figures['mAP']:.2f} %, the mean over the {counted} of "
            f"{len(by_class)} classes that have videos"
        )
    parts = [
        f"{column} top-1 {100 * figures[f'{column}_top1']:.2f} % (mean over classes "
        f"{100 * figures[f'{column}_mean_class']:.2f} %)"
        for column in form.columns
    ]
    return f"video accuracy: {', '.join(parts)}, all columns {100 * figures['action_top1']:.2f} %"
