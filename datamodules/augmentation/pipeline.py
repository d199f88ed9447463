"""Changes of training batches on the device: the base of own augmentations, and the usual ones.

B batch, V views (1 in training), C channels, T frames, H, W, K classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import torch

from datamodules.augmentation.erasing import draw_patch, erase, erase_flow
from datamodules.augmentation.functional import (
    ColorJitter,
    color_jitter,
    flip_flow,
    flip_horizontally,
    flip_labels,
    flip_mask,
)
from datamodules.augmentation.mirrors import ClassInfo
from datamodules.augmentation.mixing import Mixing, mix_clips, mix_labels, pixel_shares
from datamodules.augmentation.rand_augment import RandAugment
from datamodules.augmentation.reversals import with_reversals
from datamodules.batch import VideoBatch
from datamodules.errors import UserError
from datamodules.plugins.described import DescribedValue
from datamodules.randomness import BatchDraws

__all__ = ["Augmentation", "StandardAugmentation"]


class Augmentation(DescribedValue):
    """Base of augmentations, which change training batches on the device; derive your own from it.

    All randomness comes from the generators that are handed in, one for each sample, made from
    (seed, epoch, index, view): so the same clips come out on any number of workers and devices, and
    in a run that was killed and goes on. An augmentation keeps no state. One that moves pixels has
    to move those of `flow` alike, where a batch has it. An evaluation is never augmented.
    """

    @property
    def named_classes(self) -> list[str]:
        """Classes that its arguments name; each must be one of the dataset's."""
        return []

    def check_classes(self, classes: ClassInfo) -> None:
        """Check the names of classes.

        Args:
            classes: The dataset's classes.

        Raises:
            UserError: If a name is not a class.
        """
        for name in self.named_classes:
            if name not in classes.names:
                raise UserError(
                    f"data.augmentation (flip_exempt, flip_pairs, reverse_pairs) names {name!r}, "
                    f"which is not a class; classes are {', '.join(classes.names[:10])}"
                )

    @property
    def mirrors(self) -> bool:
        """True if clips are mirrored as `mirrored` says."""
        return False

    @property
    def moves_flow(self) -> bool:
        """False if it cannot change the flow of a clip alike; data with flow then refuse it."""
        return True

    @property
    def needs_one_class(self) -> bool:
        """True if it cannot change clips of several classes; data of such labels refuse it."""
        return False

    def mirrored(self, classes: ClassInfo) -> ClassInfo:
        """Say how the classes' mirror images are treated; as the dataset says by default.

        Args:
            classes: The dataset's classes.
        """
        return classes

    def augment(self, batch: VideoBatch, draws: BatchDraws, classes: ClassInfo) -> VideoBatch:
        """Change clips before they are normalized.

        Args:
            batch: A batch as it comes from the loader, clips uint8, (B, V, C, T, H, W), with flow
                on the device, all else in main memory; it may be changed in place.
            draws: Source of random generators: `draws.generators("any word")`, B of them.
            classes: The dataset's classes.

        Returns:
            The batch; its clips are uint8, or float in [0, 1].
        """
        return batch

    def mix(self, batch: VideoBatch, draws: BatchDraws, num_classes: int) -> VideoBatch:
        """Mix clips and targets after clips were normalized.

        Args:
            batch: A normalized batch, clips, flow and labels on the device; it may be changed in
                place.
            draws: Source of random generators.
            num_classes: Number of classes, K.

        Returns:
            The batch, with a `target` (B, K) where labels were mixed.
        """
        return batch


class StandardAugmentation(Augmentation):
    """Mirroring, RandAugment, colour jitter, erasing, reversals, mixup and cutmix.

    Args:
        flip_probability: Share of training clips that are mirrored.
        flip_exempt: Classes that are never mirrored; null for the dataset's own, or those whose
            names differ in left and right, or in the sense of a turn.
        flip_pairs: Pairs of classes that are each other's mirror image, and get the other's label
            when they are mirrored; null for the dataset's own.
        rand_augment: Number of RandAugment's operations on each clip, which recolour, turn, shear
            and shift it; 0 for none, 2 is usual.
        rand_augment_magnitude: Their strength, from 0 to 30.
        color: Strength of brightness, contrast and saturation jitter; a quarter of it for hue.
        erase_probability: Share of training clips in which a box is covered with noise.
        reversals: Show each clip once more in its batch, backwards, under the name of the class
            that it then shows: up to twice the clips for the network, none more to decode.
        reverse_pairs: Pairs of classes that are each other's reversal, a class with itself where it
            looks alike; null for the dataset's own. Clips of other classes are not reversed.
        mixup_alpha: Strength of mixup, which adds pairs of training clips; 0 for none, 0.2 to 0.8
            is usual.
        cutmix_alpha: Strength of cutmix, which pastes a box of one training clip into another; 0
            for none, 1 is usual. With both, each clip is mixed one way or the other.

    Raises:
        UserError: If a number is out of its range, or arguments do not go together.
    """

    def __init__(
        self,
        flip_probability: float = 0.5,
        flip_exempt: Sequence[str] | None = None,
        flip_pairs: Sequence[tuple[str, str]] | None = None,
        rand_augment: int = 0,
        rand_augment_magnitude: float = RandAugment.magnitude,
        color: float = 0.0,
        erase_probability: float = 0.0,
        reversals: bool = False,
        reverse_pairs: Sequence[tuple[str, str]] | None = None,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
    ) -> None:
        _check_share("flip_probability", flip_probability)
        _check_share("erase_probability", erase_probability)
        self.flip_probability = flip_probability
        self.erase_probability = erase_probability
        self.rand_augment = RandAugment(rand_augment, rand_augment_magnitude)
        self.flip_exempt = flip_exempt
        self.flip_pairs = flip_pairs
        self.color = ColorJitter(color, color, color, color / 4) if color else None
        self.reversals = reversals
        self.reverse_pairs = reverse_pairs
        self.mixing = Mixing(mixup_alpha, cutmix_alpha)
        if reversals and self.mixing:
            raise UserError(
                "data.augmentation.reversals and mixup_alpha or cutmix_alpha do not go together, "
                "as a mixed clip is no reversal of another; leave one out"
            )
        if reverse_pairs is not None and not reversals:
            raise UserError(
                "data.augmentation.reverse_pairs has no effect without "
                "data.augmentation.reversals=true; set that, or leave the pairs out"
            )

    @property
    def mirrors(self) -> bool:
        """True if some clips are mirrored."""
        return self.flip_probability > 0

    def mirrored(self, classes: ClassInfo) -> ClassInfo:
        """Replace the classes' mirror images by those that the arguments give."""
        given, own = self.flip_pairs, self.flip_exempt
        pairs = classes.mirror_pairs if given is None else [(x, y) for x, y in given]
        paired = set(chain.from_iterable(pairs))
        exempt = sorted(set(classes.never_mirrored) - paired) if own is None else list(own)
        return replace(classes, mirror_pairs=pairs, never_mirrored=exempt)

    def reversed_classes(self, classes: ClassInfo) -> ClassInfo:
        """Replace the classes' reversals by those that the arguments give."""
        given = self.reverse_pairs
        return classes if given is None else replace(classes, reverse_pairs=given)

    def check_classes(self, classes: ClassInfo) -> None:
        """Check the names of classes; see `Augmentation`.

        Raises:
            UserError: If a name is not a class, or no reversals are known that are asked for.
        """
        super().check_classes(classes)
        if self.reversals and not self.reversed_classes(classes).reverse_pairs:
            raise UserError(
                "data.augmentation.reversals=true needs the classes that are each other's "
                "reversal; name them with data.augmentation.reverse_pairs, or leave it out"
            )

    @property
    def moves_flow(self) -> bool:
        """False with reversals, which turn each motion round, and RandAugment, which bends it."""
        return not (self.reversals or self.rand_augment)

    @property
    def needs_one_class(self) -> bool:
        """True with reversals, of which each class has its own."""
        return self.reversals

    @property
    def named_classes(self) -> list[str]:
        """Classes that `flip_exempt`, `flip_pairs` and `reverse_pairs` name."""
        pairs = chain(self.flip_pairs or (), self.reverse_pairs or ())
        return [*(self.flip_exempt or ()), *chain.from_iterable(pairs)]

    def augment(self, batch: VideoBatch, draws: BatchDraws, classes: ClassInfo) -> VideoBatch:
        """Mirror, bend, recolour, erase and reverse; treat flow and classes alike."""
        generators = draws.generators("device")
        if self.mirrors:
            wanted = [rng.random() < self.flip_probability for rng in generators]
            self._flip(batch, np.array(wanted), self.mirrored(classes))
        if self.rand_augment:
            drawn = [self.rand_augment.draw(rng) for rng in draws.generators("rand_augment")]
            batch["clips"] = self.rand_augment.change(batch["clips"], drawn)
        if self.color is not None:
            factors = torch.tensor([self.color.draw(rng) for rng in generators])
            clips = batch["clips"]
            batch["clips"] = color_jitter(clips.float() / 255, factors.to(clips.device))
        if self.erase_probability > 0:
            self._erase(batch, draws)
        return with_reversals(batch, self.reversed_classes(classes)) if self.reversals else batch

    def _flip(self, batch: VideoBatch, wanted: np.ndarray, classes: ClassInfo) -> None:
        labels, index = batch["label"], classes.names.index
        exempt = [index(name) for name in classes.never_mirrored]
        swaps = {index(a): index(b) for x, y in classes.mirror_pairs for a, b in ((x, y), (y, x))}
        mask = flip_mask(torch.from_numpy(wanted), labels, exempt)
        batch["clips"] = flip_horizontally(batch["clips"], mask)
        if "flow" in batch:
            batch["flow"] = flip_flow(batch["flow"], mask)
        batch["label"] = flip_labels(labels, mask, swaps)

    def _erase(self, batch: VideoBatch, draws: BatchDraws) -> None:
        height, width = batch["clips"].shape[-2:]
        patches = [
            draw_patch(height, width, rng) if rng.random() < self.erase_probability else None
            for rng in draws.generators("erasing")
        ]
        batch["clips"] = erase(batch["clips"], patches)
        if "flow" in batch:
            batch["flow"] = erase_flow(batch["flow"], patches)

    def mix(self, batch: VideoBatch, draws: BatchDraws, num_classes: int) -> VideoBatch:
        """Mix clips, each with the next one of its device's batch."""
        if not self.mixing:
            return batch
        drawn = [self.mixing.draw(rng) for rng in draws.generators("mixing")]
        shares = pixel_shares(drawn, *batch["clips"].shape[-2:]).to(batch["clips"].device)
        batch["clips"] = mix_clips(batch["clips"], shares)
        if "flow" in batch:
            batch["flow"] = mix_clips(batch["flow"], shares)
        batch["target"] = mix_labels(batch["label"], shares, num_classes)
        return batch


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UserError(f"data.augmentation.{name}={value} is not possible; it must lie in [0, 1]")
