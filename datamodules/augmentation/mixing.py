"""Mixup and cutmix: each training clip is mixed with the next one of its batch.

mixup (Zhang et al., ICLR 2018, arXiv 1710.09412) adds two samples with shares that sum to 1; cutmix
(Yun et al., ICCV 2019, arXiv 1905.04899) pastes a box of one into the other, the same box in every
frame. Both are one operation here: a share per pixel. Pure functions over normalized clips; the
shares are drawn by the caller's generators, sample by sample.

B batch, V views, C channels, T frames, H, W, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.errors import UserError


@dataclass(frozen=True)
class Mixing:
    """Strengths of mixup and cutmix of training clips.

    Where both strengths are given, each sample is mixed one way or the other with equal chance.

    Attributes:
        mixup_alpha: The share is drawn from Beta(alpha, alpha); 0 for no mixup.
        cutmix_alpha: One minus the box's area is drawn from Beta(alpha, alpha); 0 for no cutmix.

    Raises:
        UserError: If a strength is negative.
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mixup_alpha", "cutmix_alpha"):
            if getattr(self, name) < 0:
                raise UserError(
                    f"data.augmentation.{name}={getattr(self, name)} is not possible; it must be "
                    "at least 0, and 0 turns it off"
                )

    def __bool__(self) -> bool:
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def draw(self, rng: np.random.Generator) -> tuple[float, float, float, float, float]:
        """Draw one sample's mix for `pixel_shares`.

        Returns:
            The share of the sample's own pixels outside of a box, and the box that the other sample
            fills: left, top, right, bottom as parts of width and height. Mixup's box is empty.
        """
        both = self.mixup_alpha > 0 and self.cutmix_alpha > 0
        cut = bool(rng.random() < 0.5) if both else self.cutmix_alpha > 0
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        share = float(rng.beta(alpha, alpha))
        if not cut:
            return share, 0.0, 0.0, 0.0, 0.0
        x, y = rng.random(2).tolist()
        half = np.sqrt(1.0 - share) / 2
        left, right, top, bottom = np.clip([x - half, x + half, y - half, y + half], 0, 1).tolist()
        return 1.0, left, top, right, bottom


def pixel_shares(draws: Sequence[Sequence[float]], height: int, width: int) -> Tensor:
    """Compute the part of each pixel that stays the sample's own.

    Args:
        draws: A share and a box per sample, from `Mixing.draw`.
        height: H.
        width: W.

    Returns:
        (B, H, W) in [0, 1]; the mean over H and W is the sample's share of the target.
    """
    shares = torch.empty(len(draws), height, width)
    for own, (share, left, top, right, bottom) in zip(shares, draws, strict=True):
        own.fill_(share)
        rows = slice(round(top * height), round(bottom * height))
        own[rows, round(left * width) : round(right * width)] = 0.0
    return shares


def mix_clips(clips: Tensor, shares: Tensor) -> Tensor:
    """Mix each sample with the next one of the batch, the last one with the first.

    Args:
        clips: Float clips or flow, (B, V, C, T, H, W).
        shares: Part of each pixel that stays the sample's own, (B, H, W).

    Returns:
        (B, V, C, T, H, W).
    """
    own = shares.to(clips)[:, None, None, None]
    return torch.lerp(clips.roll(-1, 0), clips, own)


def mix_labels(labels: Tensor, shares: Tensor, num_classes: int) -> Tensor:
    """Make the targets of clips that `mix_clips` mixed.

    Args:
        labels: Labels, (B,), or marks of the classes, (B, K).
        shares: Part of each pixel that stayed the sample's own, (B, H, W).
        num_classes: K.

    Returns:
        (B, K) float32, the share of each class; of labels (B,), each row sums to 1.
    """
    targets = (labels if labels.ndim == 2 else F.one_hot(labels, num_classes)).float()
    own = shares.to(targets).mean((1, 2))[:, None]
    return torch.lerp(targets.roll(-1, 0), targets, own)
