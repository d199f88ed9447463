"""TrainingClips: clips of the first batch as the network sees them."""

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from datamodules import VideoBatch
from datamodules.clips.input_spec import InputSpec, Normalization
from lightning_modules.base import VideoClassifier
from lightning_modules.dashboards.items import Clip, Clips
from lightning_modules.dashboards.show import can_show, show

MOST_CLASSES = 5
"""Classes of a clip that are named."""


class TrainingClips(Callback):
    """A callback that shows some clips of a fit's first batch, after sampling and augmentation.

    Shown by W&B and TensorBoard as `train/clips`, with the class, or the classes that are mixed.

    Args:
        count: Number of clips.
    """

    def __init__(self, count: int = 8) -> None:
        self.count = count

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: VideoBatch, batch_idx: int
    ) -> None:
        """Show the first batch of a fit that does not resume."""
        assert isinstance(pl_module, VideoClassifier)
        if trainer.global_step or batch_idx or not pl_module.input_spec or not can_show(trainer):
            return
        scale = InputSpec.from_dict(pl_module.input_spec).normalization
        frames = clips_as_seen(batch["clips"][: self.count], scale)
        targets = pl_module.target(batch)[: self.count].cpu()
        captions = [caption(target, pl_module.class_names) for target in targets]
        clips = [Clip(*pair) for pair in zip(frames, captions, strict=True)]
        show(trainer, {"train/clips": Clips(clips)}, 0)


def clips_as_seen(clips: Tensor, scale: Normalization) -> NDArray[np.uint8]:
    """Undo the normalization of training clips.

    Args:
        clips: (B, 1, C, T, H, W).
        scale: Mean and standard deviation of the colours.

    Returns:
        (B, T, H, W, C).
    """
    shape = (-1, 1, 1, 1)
    mean = torch.tensor(scale.mean).view(shape)
    std = torch.tensor(scale.std).view(shape)
    colours = clips[:, 0].float().cpu() * std + mean
    seen = (255 * colours).round().clamp(0, 255).to(torch.uint8)
    return seen.permute(0, 2, 3, 4, 1).contiguous().numpy()


def caption(target: Tensor, class_names: list[str]) -> str:
    """Name the class of a label, a scalar, or the classes of a mixed target, (K,)."""
    if not target.ndim:
        return class_names[int(target)]
    shares = target.tolist()
    order = sorted((i for i, share in enumerate(shares) if share > 0), key=lambda i: -shares[i])
    named = [
        class_names[i] if shares[i] == 1 else f"{shares[i]:.2f} {class_names[i]}" for i in order
    ]
    return " + ".join(named[:MOST_CLASSES])
