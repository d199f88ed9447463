"""From views to numbers: a trained module on its device, in a precision of its own.

V views (clips x crops of a video or window), K classes, C features.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor

from datamodules.augmentation.functional import normalize, normalize_flow
from datamodules.batch import VideoBatch, Views
from datamodules.clips.input_spec import InputSpec
from datamodules.errors import UserError, as_user_error
from datamodules.jobs.devices import usable_device
from lightning_modules.base import VideoClassifier
from lightning_modules.evaluation.protocol import digest_of_weights
from lightning_modules.labels.metrics import refuse_not_finite

__all__ = ["Precision", "Scorer", "as_batch"]

Precision = Literal["float32", "bfloat16", "float16"]


def as_batch(items: Sequence[Views]) -> VideoBatch:
    """Put the views of windows together as a batch; see `VideoBatch`."""
    batch: VideoBatch = {
        "clips": torch.stack([item["clips"] for item in items]),
        "label": torch.zeros(len(items), dtype=torch.int64),
    }
    if "flow" in items[0]:
        batch["flow"] = torch.stack([item["flow"] for item in items])
    return batch


class Scorer:
    """A trained module that scores views; nothing outside of it is changed.

    Args:
        module: The module; it is moved to the device.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: Numbers that the network computes with: `float32` as in a test, or the faster
            `bfloat16` or `float16`, by automatic casts.
        views_at_once: Views that the network sees at a time; None for all of a batch.

    Raises:
        UserError: If there is no such device or precision.
    """

    def __init__(
        self,
        module: VideoClassifier,
        device: str = "auto",
        precision: Precision = "float32",
        views_at_once: int | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise UserError(f"precision={precision} is not known; give {_CHOICES}")
        self.module = module.to(usable_device(device))
        self.module.views_at_once = views_at_once
        self.precision = precision
        self.weights = digest_of_weights(module.state_dict())
        self._normalization = InputSpec.from_dict(module.input_spec).normalization

    def logits(self, batch: VideoBatch, names: Sequence[str]) -> Tensor:
        """Compute the logits of each view, (B, V, K).

        Args:
            batch: The views, uint8.
            names: Names of the B videos, for the message.

        Raises:
            UserError: If one is not finite.
        """
        with torch.inference_mode(), self._casts():
            logits = self.module.view_logits(self._prepared(batch))
        valid = batch.get("valid")
        read = logits if valid is None else logits[valid.to(logits.device)]
        kept = [name for i, name in enumerate(names) if valid is None or valid[i]]
        refuse_not_finite(read, kept)
        return logits

    def scores(self, batch: VideoBatch, names: Sequence[str]) -> Tensor:
        """Compute the scores of joined views, (B, K): probabilities or logits."""
        return self.module.classes.scores(self.logits(batch, names)).cpu()

    def probabilities(self, scores: Tensor) -> Tensor:
        """Turn averaged scores into probabilities, (B, K)."""
        module = self.module
        if module.classes.average != "logits":
            return scores
        return module.classes.head.probabilities(scores.to(module.device)).cpu()

    def inputs(self, batch: VideoBatch) -> tuple[Tensor, ...]:
        """Make the arguments of the network, every view a sample of its own; see the module's."""
        return self.module.inputs(self._prepared(batch))

    def features(self, batch: VideoBatch) -> Tensor:
        """Compute features, (B, C) float32: means over places, times and views.

        Raises:
            UserError: If the network tells nothing but its logits.
        """
        pooled = self.pooled_features(self.inputs(batch))
        return pooled.view(len(batch["label"]), -1, pooled.shape[-1]).mean(1).cpu()

    def pooled_features(self, inputs: Sequence[Tensor]) -> Tensor:
        """Compute the means over places and times of the features of samples, (N, C) float32.

        Args:
            inputs: The arguments of the network, see `inputs`.

        Raises:
            UserError: If the network tells nothing but its logits, or does not take such samples.
        """
        network = self.module.network
        if not network.has_features:
            raise UserError(
                f"{self.module.network_name} gives logits alone, no features; give a checkpoint of "
                "a network with forward_features"
            )
        with as_user_error(), torch.inference_mode(), self._casts():
            at_once = self.module.views_at_once or len(inputs[0])
            parts = zip(*(torch.split(x, at_once) for x in inputs), strict=True)
            # (N, C, T', H', W') -> (N, C)
            pooled = [network.forward_features(*part).float().mean((2, 3, 4)) for part in parts]
        return torch.cat(pooled)

    def _prepared(self, batch: VideoBatch) -> VideoBatch:
        """Bring views to the device, on the scale that the network was trained with."""
        device, dtype = self.module.device, next(self.module.parameters()).dtype
        mean, std = self._normalization.mean, self._normalization.std
        clips = normalize(batch["clips"].to(device), mean, std, dtype)
        prepared: VideoBatch = {"clips": clips, "label": batch["label"]}
        if "flow" in batch:
            prepared["flow"] = normalize_flow(batch["flow"].to(device), dtype)
        return prepared

    def _casts(self) -> AbstractContextManager[object]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.module.device.type, getattr(torch, self.precision))


_CHOICES = ", ".join(get_args(Precision))
