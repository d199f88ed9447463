"""Flips, colour and normalization of batches against slow, explicit forms."""

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.augmentation.functional import (
    ColorJitter,
    color_jitter,
    flip_horizontally,
    flip_labels,
    flip_mask,
    normalize,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_flip_mirrors_marked_samples_only_in_all_views_and_frames() -> None:
    clips = noise(3, 2, 3, 4, 5, 6)
    mask = torch.tensor([True, False, True])
    flipped = flip_horizontally(clips, mask)
    assert torch.equal(flipped[1], clips[1])
    for sample in (0, 2):
        for column in range(6):
            assert torch.equal(flipped[sample, ..., column], clips[sample, ..., 5 - column])


def test_flip_mask_spares_exempt_labels() -> None:
    wanted = torch.tensor([True, True, False, True])
    labels = torch.tensor([86, 3, 3, 167])
    assert flip_mask(wanted, labels, (86, 87, 166, 167)).tolist() == [False, True, False, False]
    assert flip_mask(wanted, labels, ()).tolist() == wanted.tolist()


def test_flip_labels_swaps_marked_samples_once() -> None:
    labels = torch.tensor([0, 1, 0, 2, 1])
    mask = torch.tensor([True, True, False, True, False])
    assert flip_labels(labels, mask, {0: 1, 1: 0}).tolist() == [1, 0, 0, 2, 1]
    assert labels.tolist() == [0, 1, 0, 2, 1]


def jitter_one(clip: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Brightness, contrast, saturation of one clip (3, T, H, W), pixel by pixel in numpy."""
    grey = np.array([0.299, 0.587, 0.114])
    pixels = np.clip(clip.double().numpy() * brightness, 0, 1)
    mean = (grey[:, None, None, None] * pixels).sum(0).mean()
    pixels = np.clip(mean + contrast * (pixels - mean), 0, 1)
    own = (grey[:, None, None, None] * pixels).sum(0)
    return torch.from_numpy(np.clip(own + saturation * (pixels - own), 0, 1)).float()


def test_color_jitter_follows_each_samples_factors_over_a_whole_clip() -> None:
    clips = noise(2, 2, 3, 4, 5, 6).float() / 255
    factors = torch.tensor([[1.3, 0.6, 1.4, 0.0], [0.8, 1.2, 0.5, 0.0]])
    result = color_jitter(clips, factors)
    for sample in range(2):
        for view in range(2):
            expected = jitter_one(clips[sample, view], *factors[sample, :3].tolist())
            assert torch.allclose(result[sample, view], expected, atol=1e-5)


def test_color_jitter_of_neutral_factors_changes_nothing() -> None:
    clips = noise(1, 1, 3, 2, 5, 6).float() / 255
    neutral = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    assert torch.allclose(color_jitter(clips, neutral), clips, atol=1e-6)


def test_hue_turn_by_a_third_carries_red_towards_green_and_keeps_luma() -> None:
    muted_red = torch.tensor([0.5, 0.4, 0.4]).view(1, 1, 3, 1, 1, 1)
    third = color_jitter(muted_red, torch.tensor([[1.0, 1.0, 1.0, 1 / 3]])).flatten()
    assert third.argmax() == 1
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert float(third @ luma) == pytest.approx(float(muted_red.flatten() @ luma), abs=1e-4)
    whole = color_jitter(muted_red, torch.tensor([[1.0, 1.0, 1.0, 1.0]]))
    assert torch.allclose(whole, muted_red, atol=1e-5)


def test_color_jitter_draws_within_its_strengths() -> None:
    jitter = ColorJitter(brightness=0.4, contrast=0.2, saturation=0.0, hue=0.1)
    generator = rng()
    factors = np.array([jitter.draw(generator) for _ in range(500)])
    low, high = factors.min(axis=0), factors.max(axis=0)
    assert np.allclose(low, [0.6, 0.8, 1.0, -0.1], atol=0.02)
    assert np.allclose(high, [1.4, 1.2, 1.0, 0.1], atol=0.02)
    with pytest.raises(ValueError, match=r"hue=0.6 is not possible; hue must lie in \[0, 0.5\]"):
        ColorJitter(hue=0.6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normalize_equals_the_formula_for_bytes_and_unit_floats(dtype: torch.dtype) -> None:
    clips = noise(2, 1, 3, 2, 4, 4)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    result = normalize(clips, mean, std, dtype)
    assert result.dtype == dtype
    for channel in range(3):
        expected = (clips[:, :, channel].double() / 255 - mean[channel]) / std[channel]
        tolerance = 1e-5 if dtype == torch.float32 else 0.01
        assert torch.allclose(result[:, :, channel].double(), expected, atol=tolerance)
    assert torch.allclose(normalize(clips / 255, mean, std), normalize(clips, mean, std), atol=1e-5)
