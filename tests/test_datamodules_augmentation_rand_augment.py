"""RandAugment: each operation against a slow form, and what the draws may and may not do."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datamodules import StandardAugmentation, UserError
from datamodules.augmentation.mirrors import ClassInfo
from datamodules.augmentation.rand_augment import OPERATIONS, RandAugment, apply_operation
from datamodules.batch import VideoBatch
from datamodules.randomness import BatchDraws, sample_generator

CLASSES = ClassInfo(["bend", "jack"])
FILL = np.array([124.0, 116.0, 104.0])
Pixels = NDArray[np.float64]


def clip(seed: int = 0, frames: int = 3, height: int = 10, width: int = 12) -> torch.Tensor:
    """A dark clip that grows brighter: frames differ in all that an operation could measure."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, frames, height, width)
    noise = torch.randint(10, 130, shape, generator=generator)
    return (noise + 50 * torch.arange(frames).view(1, -1, 1, 1)).to(torch.uint8)


def grey(pixels: Pixels) -> Pixels:
    return np.tensordot([0.2989, 0.587, 0.114], pixels, 1)[None]


def blended(pixels: Pixels, other: Pixels | float, factor: float) -> Pixels:
    return np.clip(other + factor * (pixels - other), 0, 255)


def equalized(pixels: Pixels) -> Pixels:
    """Of each channel over the whole clip, as PIL does it."""
    result = pixels.copy()
    for channel in range(3):
        counts = np.bincount(pixels[channel].astype(int).ravel(), minlength=256)
        step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
        if step:
            below = np.concatenate([[0], np.cumsum(counts)[:-1]])
            table = np.clip((below + step // 2) // step, 0, 255)
            result[channel] = table[pixels[channel].astype(int)]
    return result


def stretched(pixels: Pixels) -> Pixels:
    low, high = pixels.min((1, 2, 3), keepdims=True), pixels.max((1, 2, 3), keepdims=True)
    return (pixels - low) * 255 / (high - low)


def smoothed(pixels: Pixels) -> Pixels:
    result = pixels.copy()
    for y, x in itertools.product(range(1, pixels.shape[2] - 1), range(1, pixels.shape[3] - 1)):
        around = pixels[:, :, y - 1 : y + 2, x - 1 : x + 2].sum((2, 3))
        result[:, :, y, x] = np.round((around + 4 * pixels[:, :, y, x]) / 13)
    return result


def moved(pixels: Pixels, matrix: Pixels, shift: tuple[float, float] = (0.0, 0.0)) -> Pixels:
    """Bilinear: each pixel (x, y) of the result shows matrix^-1 (x - shift) of the clip.

    NaN on the edge, where only some of its four neighbours are there: no definition holds for it.
    """
    _, _, height, width = pixels.shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    result = np.empty_like(pixels)
    for y, x in itertools.product(range(height), range(width)):
        from_x, from_y = np.linalg.inv(matrix) @ (np.array([x, y]) - middle - shift) + middle
        left, top = math.floor(from_x), math.floor(from_y)
        total, inside = np.zeros(pixels.shape[:2]), 0.0
        for b, a in itertools.product((top, top + 1), (left, left + 1)):
            share = (1 - abs(from_x - a)) * (1 - abs(from_y - b))
            if 0 <= a < width and 0 <= b < height:
                total += share * pixels[:, :, b, a]
                inside += share
        edge = 1e-6 < inside < 1 - 1e-6
        result[:, :, y, x] = np.nan if edge else total + (1 - inside) * FILL[:, None]
    return result


def slow(pixels: Pixels, name: str, level: float) -> Pixels:
    """The definition of each operation, over a clip (3, T, H, W)."""
    factor, angle = 1 + 0.9 * level, math.radians(30 * level)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    height, width = pixels.shape[2:]
    forms: dict[str, Any] = {
        "identity": lambda: pixels,
        "autocontrast": lambda: stretched(pixels),
        "equalize": lambda: equalized(pixels),
        "brightness": lambda: blended(pixels, 0.0, factor),
        "contrast": lambda: blended(pixels, np.floor(grey(pixels)).mean(), factor),
        "color": lambda: blended(pixels, grey(pixels), factor),
        "posterize": lambda: pixels // 2 ** round(4 * abs(level)) * 2 ** round(4 * abs(level)),
        "solarize": lambda: np.where(pixels >= 255 * (1 - abs(level)), 255 - pixels, pixels),
        "sharpness": lambda: blended(pixels, smoothed(pixels), factor),
        "rotate": lambda: moved(pixels, turn),
        "shear_x": lambda: moved(pixels, np.array([[1, -0.3 * level], [0, 1]])),
        "shear_y": lambda: moved(pixels, np.array([[1, 0], [-0.3 * level, 1]])),
        "translate_x": lambda: moved(pixels, np.eye(2), (round(150 / 331 * level * width), 0)),
        "translate_y": lambda: moved(pixels, np.eye(2), (0, round(150 / 331 * level * height))),
    }
    return np.asarray(forms[name]())


@pytest.mark.parametrize("level", [0.3, -0.3, 0.8, -1.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_equals_its_slow_form_over_the_clip(name: str, level: float) -> None:
    changed = apply_operation(clip(), name, level)
    assert (changed.shape, changed.dtype) == (clip().shape, torch.uint8)
    wanted = slow(clip().double().numpy(), name, level)
    far = np.abs(changed.double().numpy() - wanted)
    assert np.nanmax(far) < 2, "rounded twice"
    assert np.isfinite(far).mean() > 0.6
    assert name == "identity" or not torch.equal(changed, clip())


@pytest.mark.parametrize("name", OPERATIONS)
def test_frames_that_are_alike_stay_alike(name: str) -> None:
    still = clip(frames=1).expand(-1, 4, -1, -1)
    changed = apply_operation(still, name, 0.7)
    assert torch.equal(changed, changed[:, :1].expand(-1, 4, -1, -1))


def test_measures_are_those_of_the_clip_not_of_a_frame() -> None:
    for name in ("autocontrast", "equalize", "contrast"):
        whole = apply_operation(clip(), name, -0.9)
        alone = torch.cat([apply_operation(clip()[:, [t]], name, -0.9) for t in range(3)], dim=1)
        assert not torch.equal(whole, alone)


def test_no_draw_turns_a_direction_round_or_mirrors_it() -> None:
    """All that bends at full strength, in any order: a turn by less than 90 degrees, no mirror."""
    angle = math.radians(30)
    bends = [
        np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]),
        np.array([[1, -0.3], [0, 1]]),
        np.array([[1, 0], [0.3, 1]]),
    ]
    directions = [(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 72)]
    for order in itertools.permutations(bends):
        matrix = order[0] @ order[1] @ order[2]
        assert np.linalg.det(matrix) > 0
        assert all(np.dot(d, matrix @ d) > 0 for d in directions)
    drawn = RandAugment(14, 30).draw(sample_generator(0, 0, 0))
    assert sorted(name for name, _ in drawn) == sorted(OPERATIONS), "each at most once"


def batch(indices: tuple[int, ...], repeats: tuple[int, ...]) -> VideoBatch:
    clips = torch.stack([clip(seed)[None] for seed in range(len(indices))])
    return {
        "clips": clips,
        "label": torch.tensor([i % 2 for i in range(len(indices))]),
        "index": torch.tensor(indices),
        "repeat": torch.tensor(repeats),
        "epoch": 3,
    }


def changed(made: StandardAugmentation, samples: VideoBatch, seed: int = 5) -> VideoBatch:
    return made.augment(samples, BatchDraws.of(seed, samples), CLASSES)


def test_changes_are_drawn_from_seed_epoch_index_and_repeat_alone() -> None:
    made = StandardAugmentation(0.0, rand_augment=2, rand_augment_magnitude=20)
    together = changed(made, batch((4, 9, 4), (0, 0, 1)))["clips"]
    for row, (index, repeat) in enumerate(((4, 0), (9, 0), (4, 1))):
        alone = batch((index,), (repeat,))
        alone["clips"] = batch((4, 9, 4), (0, 0, 1))["clips"][row : row + 1]
        assert torch.equal(changed(made, alone)["clips"][0], together[row])
        drawn = RandAugment(2, 20).draw(sample_generator(5, 3, index, repeat, "rand_augment"))
        expected = clip(row)
        for name, level in drawn:
            expected = apply_operation(expected, name, level)
        assert torch.equal(together[row, 0], expected)
    other = changed(made, batch((4, 9, 4), (0, 0, 1)), seed=6)["clips"]
    assert not torch.equal(other, together)


def test_number_strength_and_sign_of_the_operations_follow_the_settings() -> None:
    draws = [RandAugment(3, 12).draw(sample_generator(0, 0, i)) for i in range(400)]
    assert {len(drawn) for drawn in draws} == {3}
    assert {abs(level) for drawn in draws for _, level in drawn} == {12 / 30}
    flat = [name for drawn in draws for name, _ in drawn]
    counts = np.array([flat.count(name) for name in OPERATIONS])
    assert np.abs(counts - 1200 / 14).max() < 4 * math.sqrt(1200 / 14)
    negative = np.mean([level < 0 for drawn in draws for _, level in drawn])
    assert abs(negative - 0.5) < 0.06


def test_nothing_is_changed_by_default() -> None:
    samples = batch((1, 2), (0, 0))
    before = samples["clips"].clone()
    assert torch.equal(changed(StandardAugmentation(0.0), samples)["clips"], before)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"rand_augment": 15}, r"rand_augment=15 is not possible; .* from 0 for none to 14"),
        ({"rand_augment": -1}, "rand_augment=-1 is not possible"),
        ({"rand_augment": 2, "rand_augment_magnitude": 31}, r"must lie in \[0, 30\]"),
        ({"rand_augment_magnitude": 5}, "has no effect without data.augmentation.rand_augment"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        StandardAugmentation(**given)
