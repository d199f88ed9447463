"""What a batch goes through on the device that trains: mirroring, colour, normalization, mixing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from datamodules.augmentation.functional import (
    ColorJitter,
    color_jitter,
    flip_flow,
    flip_horizontally,
    flip_labels,
    flip_mask,
    normalize,
    normalize_flow,
)
from datamodules.augmentation.mixing import Mixing, mix_clips, mix_labels, pixel_shares
from datamodules.batch import VideoBatch
from datamodules.errors import UserError
from datamodules.randomness import sample_generator


@dataclass
class DeviceTransforms:
    """Augmentation by draws from (seed, epoch, index), and normalization.

    Attributes:
        mean: Mean of each colour channel on the scale [0, 1].
        std: Standard deviation of each colour channel on that scale.
        flip_probability: Share of training clips that are mirrored.
        flip_exempt: Classes that are never mirrored.
        flip_pairs: Pairs of classes that are each other's mirror image.
        color: Jitter of brightness, contrast, saturation and hue; None for none.
        mixing: How training clips are mixed.
        seed: Seed of the draws.

    Raises:
        UserError: If a number is out of its range.
    """

    mean: Sequence[float]
    std: Sequence[float]
    flip_probability: float
    flip_exempt: list[str]
    flip_pairs: list[tuple[str, str]]
    color: ColorJitter | None
    mixing: Mixing
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.flip_probability <= 1:
            raise UserError(
                f"data.flip_probability={self.flip_probability} is not possible; it must lie in "
                "[0, 1]"
            )
        if not len(self.mean) == len(self.std) == 3:
            raise UserError(
                f"data.mean has {len(self.mean)} and data.std {len(self.std)} values; give one of "
                "each for red, green and blue"
            )
        if min(self.std) <= 0:
            raise UserError(
                f"data.std={list(self.std)} is not possible; its values must be above 0"
            )

    @property
    def named_classes(self) -> list[str]:
        """Classes that are named for what their mirror image is."""
        return [*self.flip_exempt, *chain.from_iterable(self.flip_pairs)]

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Check the names of mirrored classes.

        Args:
            class_names: Names of the classes in label order.

        Raises:
            UserError: If a name is not a class.
        """
        for name in self.named_classes:
            if name not in class_names:
                raise UserError(
                    f"data.flip_exempt or data.flip_pairs names {name!r}, which is not a class; "
                    f"classes are {', '.join(class_names[:10])}"
                )

    def augment(self, batch: VideoBatch, class_names: Sequence[str]) -> VideoBatch:
        """Mirror and recolour training clips; mirror their flow and rename their classes alike.

        Args:
            batch: A batch as it comes from the loader; it is changed.
            class_names: Names of the classes in label order.
        """
        draws = [
            sample_generator(self.seed, batch["epoch"], index, purpose="device")
            for index in batch["index"].tolist()
        ]
        if self.flip_probability:
            wanted = [draw.random() < self.flip_probability for draw in draws]
            self._flip(batch, np.array(wanted), class_names)
        if self.color is not None:
            factors = torch.tensor([self.color.draw(draw) for draw in draws])
            clips = batch["clips"]
            batch["clips"] = color_jitter(clips.float() / 255, factors.to(clips.device))
        return batch

    def _flip(self, batch: VideoBatch, wanted: np.ndarray, class_names: Sequence[str]) -> None:
        labels, index = batch["label"], class_names.index
        exempt = [index(name) for name in self.flip_exempt]
        swaps = {index(a): index(b) for x, y in self.flip_pairs for a, b in ((x, y), (y, x))}
        mask = flip_mask(torch.from_numpy(wanted).to(labels.device), labels, exempt)
        batch["clips"] = flip_horizontally(batch["clips"], mask)
        if "flow" in batch:
            batch["flow"] = flip_flow(batch["flow"], mask)
        batch["label"] = flip_labels(labels, mask, swaps)

    def normalize(self, batch: VideoBatch, dtype: torch.dtype) -> VideoBatch:
        """Bring clips and flow to the scale that networks take.

        Args:
            batch: A batch of codes, or of colours in [0, 1] once they were jittered; it is changed.
            dtype: Type of the result.
        """
        batch["clips"] = normalize(batch["clips"], self.mean, self.std, dtype)
        if "flow" in batch:
            batch["flow"] = normalize_flow(batch["flow"], dtype)
        return batch

    def mix(self, batch: VideoBatch, num_classes: int) -> VideoBatch:
        """Mix normalized training clips, each with the next one of its device's batch.

        Args:
            batch: A normalized batch; it is changed, and gets its targets.
            num_classes: Number of classes, K.
        """
        draws = [
            self.mixing.draw(sample_generator(self.seed, batch["epoch"], index, purpose="mixing"))
            for index in batch["index"].tolist()
        ]
        shares = pixel_shares(draws, *batch["clips"].shape[-2:]).to(batch["clips"].device)
        batch["clips"] = mix_clips(batch["clips"], shares)
        if "flow" in batch:
            batch["flow"] = mix_clips(batch["flow"], shares)
        batch["target"] = mix_labels(batch["label"], shares, num_classes)
        return batch
