"""From logits to probabilities and losses, by the form of the labels.

N samples, K classes. Where a video may have several classes, labels are marks, (N, K), or shares of
the classes where clips are mixed.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from datamodules.annotations.label_form import LabelForm
from datamodules.errors import UserError
from lightning_modules.labels.columns import Columns

__all__ = ["ColumnLoss", "LabelHead", "check_form", "make_loss"]


class LabelHead(nn.Module):
    """The meaning of logits: a softmax over all classes or over each column, or sigmoids.

    Args:
        form: What a label is.
        columns: Classes of each column.
    """

    def __init__(self, form: LabelForm, columns: Columns) -> None:
        super().__init__()
        self.form = form
        self.columns = columns
        self._loss = ColumnLoss(columns)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits into probabilities, (..., K)."""
        if self.form.kind == "multi":
            return logits.sigmoid()
        if self.form.is_single:
            return logits.softmax(dim=-1)
        found = torch.empty_like(logits)
        for index in self.columns.indices(logits.device):
            found[..., index] = logits[..., index].softmax(dim=-1)
        return found

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of each sample, (N,).

        Cross-entropy; of several columns its mean over those that are labelled; the mean over the
        classes of binary cross-entropy.

        Args:
            logits: (N, K).
            labels: Labels, (N,), or marks of the classes, (N, K).
        """
        if self.form.is_single:
            return cross_entropy(logits, labels, reduction="none")
        if self.form.kind == "multi":
            each = binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
            return each.mean(dim=1)
        losses, masses = self._loss.parts(logits, labels.float())  # (N, columns) each
        return losses.sum(dim=1) / masses.sum(dim=1).clamp(min=1)


class ColumnLoss(nn.Module):
    """Cross-entropy of each column over the samples that it is labelled of, averaged over columns.

    Args:
        columns: Classes of each column.
        label_smoothing: Share of a column's target spread over all of its classes.
    """

    def __init__(self, columns: Columns, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.columns = columns
        self.label_smoothing = label_smoothing

    def parts(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute each column's loss of each sample, and how much of it is labelled.

        Args:
            logits: (N, K).
            targets: Marks or shares of the classes, (N, K); no class of a column where it is not
                labelled.

        Returns:
            Losses and labelled shares, (N, columns) each; 0 where a column is not labelled.
        """
        losses, masses = [], []
        for index in self.columns.indices(logits.device):
            target = targets[:, index]
            mass = target.sum(dim=1)
            spread = mass[:, None] / len(index)
            target = torch.lerp(target, spread.expand_as(target), self.label_smoothing)
            losses.append(-(target * logits[:, index].log_softmax(dim=1)).sum(dim=1))
            masses.append(mass)
        return torch.stack(losses, dim=1), torch.stack(masses, dim=1)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch, a scalar; see `parts`."""
        losses, masses = self.parts(logits, targets)
        labelled = masses.sum(dim=0)
        of_columns = losses.sum(dim=0) / labelled.clamp(min=1e-6)
        return of_columns.sum() / (labelled > 0).sum().clamp(min=1)


def make_loss(
    own: nn.Module | None, label_smoothing: float, form: LabelForm, columns: Columns
) -> nn.Module:
    """Make the training loss: a user's own, or (binary) cross-entropy, as the labels are.

    Args:
        own: A user's own; None for that of the form.
        label_smoothing: Of cross-entropy.
        form: What a label is.
        columns: Classes of each column.

    Raises:
        UserError: If `label_smoothing` is out of range, or has no meaning with the loss.
    """
    if not 0 <= label_smoothing < 1:
        raise UserError(f"model.label_smoothing={label_smoothing} must lie in [0, 1)")
    if label_smoothing and own is not None:
        raise UserError(
            f"model.label_smoothing={label_smoothing} is for cross-entropy, and model.loss is a "
            f"{type(own).__name__}; leave one of them out"
        )
    if label_smoothing and form.kind == "multi":
        raise UserError(
            f"model.label_smoothing={label_smoothing} spreads one class over all, and the data has "
            f"{form}; leave it out"
        )
    if own is not None:
        return own
    if form.kind == "multi":
        return nn.BCEWithLogitsLoss()
    if form.is_single:
        return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    return ColumnLoss(columns, label_smoothing)


def check_form(ours: LabelForm, of_data: LabelForm) -> None:
    """Refuse to train or test a module on labels of another form than it was made for.

    Raises:
        UserError: If they differ.
    """
    if ours != of_data:
        raise UserError(
            f"the network is for {ours}, and the data has {of_data}; give data of the same form, "
            f"or make the module with label_form={of_data.as_dict()}"
        )
