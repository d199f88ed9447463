"""Mixup and cutmix: the pictures and the targets are mixed in the same shares."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUIET
from lightning.pytorch import Callback, Trainer
from torch import nn

from datamodules import MotionShapesDataModule, StandardAugmentation
from datamodules.augmentation.mixing import Mixing, mix_clips, mix_labels, pixel_shares
from datamodules.clips.clip_sampler import FrameSampler
from datamodules.clips.crops import Crops
from datamodules.randomness import sample_generator
from datamodules.settings import Loading
from lightning_modules import BaselineModule

SHAPE = (4, 1, 3, 2, 8, 12)  # B, V, C, T, H, W


def generators(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_mixup_equals_its_formula() -> None:
    clips, labels = torch.rand(SHAPE), torch.tensor([0, 2, 2, 1])
    draws = [Mixing(mixup_alpha=0.8).draw(rng) for rng in generators(4)]
    shares = pixel_shares(draws, 8, 12)
    mixed, targets = mix_clips(clips, shares), mix_labels(labels, shares, 3)
    for sample, (share, *_) in enumerate(draws):
        other = (sample + 1) % 4
        wanted = share * clips[sample] + (1 - share) * clips[other]
        torch.testing.assert_close(mixed[sample], wanted)
        target = torch.zeros(3)
        target[labels[sample]] += share
        target[labels[other]] += 1 - share
        torch.testing.assert_close(targets[sample], target)
    assert len({share for share, *_ in draws}) == 4


def test_cutmix_pastes_one_box_into_every_frame() -> None:
    clips = torch.arange(4.0).view(4, 1, 1, 1, 1, 1).expand(SHAPE)
    draws = [Mixing(cutmix_alpha=1.0).draw(rng) for rng in generators(4)]
    shares = pixel_shares(draws, 8, 12)
    mixed, targets = mix_clips(clips, shares), mix_labels(torch.arange(4), shares, 4)
    for sample in range(4):
        pasted = mixed[sample] == (sample + 1) % 4
        assert torch.all(pasted | (mixed[sample] == sample))
        assert torch.all(pasted == pasted[0, 0, 0])
        box = pasted[0, 0, 0].nonzero()
        top, left = box.amin(0)
        bottom, right = box.amax(0) + 1
        assert len(box) == (bottom - top) * (right - left)
        assert float(targets[sample, sample]) == pytest.approx(1 - len(box) / 96)
        assert float(targets[sample, (sample + 1) % 4]) == pytest.approx(len(box) / 96)


def test_cutmix_boxes_have_the_drawn_area() -> None:
    areas = []
    for rng in generators(2000):
        share, left, top, right, bottom = Mixing(cutmix_alpha=1e6).draw(rng)  # area near 1/2
        assert share == 1
        assert 0 <= left <= right <= 1
        assert 0 <= top <= bottom <= 1
        areas.append((right - left) * (bottom - top))
    assert max(areas) == pytest.approx(0.5, abs=0.01)  # the rest is cut at the border
    assert min(areas) < 0.2


def test_both_are_drawn_equally_often() -> None:
    draws = [Mixing(0.2, 1.0).draw(rng) for rng in generators(1000)]
    mixups = sum(draw[1:] == (0.0, 0.0, 0.0, 0.0) for draw in draws)
    assert 420 < mixups < 580


def test_strengths_are_checked() -> None:
    assert not Mixing()
    assert Mixing(cutmix_alpha=0.5)
    with pytest.raises(ValueError, match=r"data\.augmentation\.cutmix_alpha=-1 is not possible"):
        Mixing(cutmix_alpha=-1)


def mixed_batches(root: Path, **mixing: float) -> list[dict[str, Any]]:
    """The training batches of an epoch, as the network gets them."""
    sizes = {"num_train": 64, "num_val": 16, "num_test": 16}
    data = MotionShapesDataModule(
        str(root),
        **sizes,
        loading=Loading(num_workers=0, batch_size=16),
        sampling=FrameSampler(num_frames=2, frame_stride=2),
        crops=Crops(size=32),
        augmentation=StandardAugmentation(flip_probability=0.0, **mixing),
    )
    module = BaselineModule("tsn_tiny", num_classes=8)
    batches: list[dict[str, Any]] = []

    class Keep(Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            batches.append(dict(batch))

    trainer = Trainer(
        max_epochs=1, limit_val_batches=0, enable_checkpointing=False, callbacks=[Keep()], **QUIET
    )
    trainer.fit(module, data)
    return batches


def test_training_batches_are_mixed_by_seed_epoch_and_index(motion_root: Path) -> None:
    plain = mixed_batches(motion_root)
    once = mixed_batches(motion_root, mixup_alpha=0.4, cutmix_alpha=1.0)
    again = mixed_batches(motion_root, mixup_alpha=0.4, cutmix_alpha=1.0)
    for ours, same, before in zip(once, again, plain, strict=True):
        assert "target" not in before
        assert torch.equal(ours["clips"], same["clips"])
        assert torch.equal(ours["label"], before["label"])
        assert not torch.equal(ours["clips"], before["clips"])
        draws = [
            Mixing(0.4, 1.0).draw(sample_generator(0, 0, index, purpose="mixing"))
            for index in before["index"].tolist()
        ]
        shares = pixel_shares(draws, 32, 32)
        torch.testing.assert_close(ours["clips"], mix_clips(before["clips"], shares))
        torch.testing.assert_close(ours["target"], mix_labels(before["label"], shares, 8))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_follows_the_target(smoothing: float) -> None:
    torch.manual_seed(0)
    module = BaselineModule("tsn_tiny", num_classes=3, label_smoothing=smoothing, dropout=0.0)
    labels = torch.tensor([0, 2])
    batch = {"clips": torch.randn(2, 1, 3, 2, 32, 32), "label": labels}
    plain, logits = module.loss(batch)  # type: ignore[arg-type]
    torch.testing.assert_close(
        plain, nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    )
    target = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.2, 0.8]])
    mixed, logits = module.loss({**batch, "target": target})  # type: ignore[arg-type]
    wanted = target * (1 - smoothing) + smoothing / 3
    torch.testing.assert_close(mixed, -(wanted * logits.log_softmax(1)).sum(1).mean())
