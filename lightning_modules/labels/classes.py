"""The classes of a module: their order, what logits say of them, and how the splits are counted.

B videos, V views (clips x crops of one video), N samples, K classes.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torchmetrics import Metric

from datamodules.annotations.label_form import LabelForm
from datamodules.errors import UserError
from lightning_modules.console import some_of
from lightning_modules.labels.columns import Columns
from lightning_modules.labels.heads import LabelHead
from lightning_modules.labels.metrics import (
    TRAIN,
    OwnMetrics,
    class_metric,
    make_metrics,
    mean_metric,
)

Average = Literal["probabilities", "logits", "maximum"]


class Classes(nn.Module):
    """The classes that a network tells apart, and the metrics of its training and evaluation.

    Logits keep the order of the classes that the network was trained with. Scores, labels and
    metrics have that of the data, which may be another.

    Args:
        names: Names in label order; none where they are not known yet.
        number: K.
        form: What a label is.
        average: What is made of the views of a video.
        own: Metrics of a user's own, by name.

    Attributes:
        names: Names in the order of the data.
        of_logits: Names in the order of the logits.
        columns: Classes of each column of the labels, in the order of the data.
        head: From logits to probabilities and losses.

    Raises:
        UserError: If views cannot be joined so, or a metric has a name that is taken.
    """

    def __init__(
        self,
        names: Sequence[str],
        number: int,
        form: LabelForm,
        average: Average = "probabilities",
        own: OwnMetrics = None,
    ) -> None:
        super().__init__()
        _check_average(average, form)
        self.names = list(names)
        self.form = form
        self.average: Average = average
        self.columns = Columns(self.groups)
        self.head = LabelHead(form, self.columns)
        self.of_logits = list(names)
        self._order: list[int] | None = None
        labels = form, self.columns, number
        self.train_metrics = make_metrics(*labels, TRAIN)
        self.val_metrics = make_metrics(*labels, "val/", own)
        self.test_metrics = make_metrics(*labels, "test/", own)
        self.val_loss = mean_metric()
        self.val_by_class: Metric = class_metric(*labels)
        self.test_by_class: Metric = class_metric(*labels)

    @property
    def groups(self) -> dict[str, list[int]]:
        """Classes of each column of the labels; none where there are no columns."""
        return self.form.groups(self.names) if self.form.columns else {}

    def name(self, names: Sequence[str], of_logits: Sequence[str], *, fits: bool = False) -> None:
        """Take over the classes of the data, and those that the network was trained with.

        Args:
            names: Names in the order of the data.
            of_logits: Names in the order of the logits.
            fits: True for a fit, whose loss takes logits as they are.

        Raises:
            UserError: If these are not the same classes, or those of a fit in another order.
        """
        names, of_logits = list(names), list(of_logits)
        if names != of_logits and (fits or sorted(names) != sorted(of_logits)):
            raise UserError(
                f"the network was trained on {len(of_logits)} classes ({some_of(of_logits)}), and "
                f"the data has {len(names)} ({some_of(names)}); give data with the same classes, "
                f"{'in the same order, ' if fits else ''}or train a new module with init_from, "
                "which finds classes by name"
            )
        self.names, self.of_logits = names, of_logits
        self._order = None if names == of_logits else [of_logits.index(name) for name in names]
        self.columns.place(self.groups)

    def in_data_order(self, logits: Tensor) -> Tensor:
        """Put logits of the network, (..., K), into the order of the data's classes."""
        return logits if self._order is None else logits[..., self._order]

    def scores(self, logits: Tensor) -> Tensor:
        """Join the views of each video, (B, V, K) -> (B, K), as `average` says."""
        if self.average == "logits":
            return logits.mean(dim=1)
        views = self.head.probabilities(logits)
        return views.mean(dim=1) if self.average == "probabilities" else views.amax(dim=1)

    def count_validation(self, logits: Tensor, labels: Tensor) -> None:
        """Count videos of a validation.

        Args:
            logits: In the order of the data's classes, (B, V, K).
            labels: (B,), or marks of the classes, (B, K).
        """
        if self._counts(labels):
            scores = self.scores(logits)
            of_views = labels.repeat_interleave(logits.shape[1], 0)
            self.val_loss.update(self.head.losses(logits.flatten(0, 1), of_views))
            self.val_metrics.update(scores, labels)
            self.val_by_class.update(scores, labels)

    def count_test(self, logits: Tensor, labels: Tensor) -> None:
        """Count videos of a test; see `count_validation`."""
        if self._counts(labels):
            scores = self.scores(logits)
            self.test_metrics.update(scores, labels)
            self.test_by_class.update(scores, labels)

    def _counts(self, labels: Tensor) -> bool:
        """Tell whether to count: ranks exchange the scores of any number of classes, if none."""
        return len(labels) > 0 or self.form.kind == "multi"


def _check_average(average: Average, form: LabelForm) -> None:
    """Refuse maxima of what are no probabilities by themselves."""
    if average == "maximum" and form.kind != "multi":
        raise UserError(
            "model.average=maximum takes each class by itself, and the data has "
            f"{form}, whose probabilities sum to 1; choose probabilities or logits"
        )
