"""Random erasing: a box of noise that stands still, and flow that says so."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import StandardAugmentation, UserError
from datamodules.augmentation.erasing import AREA, ASPECT, draw_patch
from datamodules.augmentation.mirrors import ClassInfo
from datamodules.batch import VideoBatch
from datamodules.randomness import BatchDraws, sample_generator

CLASSES = ClassInfo(["left", "right"], never_mirrored=["left", "right"])


def batch() -> VideoBatch:
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (4, 1, 3, 5, 20, 30), generator=generator, dtype=torch.uint8)
    flow = torch.randint(0, 256, (4, 1, 6, 5, 20, 30), generator=generator, dtype=torch.uint8)
    return {
        "clips": clips,
        "flow": flow,
        "label": torch.tensor([0, 1, 0, 1]),
        "index": torch.tensor([7, 8, 7, 9]),
        "repeat": torch.tensor([0, 0, 1, 0]),
        "epoch": 2,
    }


def erased(probability: float, **more: Any) -> VideoBatch:
    samples = batch()
    made = StandardAugmentation(0.0, erase_probability=probability, **more)
    return made.augment(samples, BatchDraws.of(11, samples), CLASSES)


def test_box_is_the_same_noise_in_all_frames_and_nothing_else_changes() -> None:
    before, after = batch(), erased(1.0)
    for row, (index, repeat) in enumerate(((7, 0), (8, 0), (7, 1), (9, 0))):
        rng = sample_generator(11, 2, index, repeat, "erasing")
        rng.random()
        patch = draw_patch(20, 30, rng)
        _, height, width = patch.noise.shape
        for y in range(20):
            for x in range(30):
                dy, dx = y - patch.top, x - patch.left
                own = after["clips"][row, 0, :, :, y, x]
                if 0 <= dy < height and 0 <= dx < width:
                    assert own.tolist() == [[c] * 5 for c in patch.noise[:, dy, dx].tolist()]
                    assert set(after["flow"][row, 0, :, :, y, x].flatten().tolist()) == {128}
                else:
                    assert torch.equal(own, before["clips"][row, 0, :, :, y, x])
                    flow = after["flow"][row, 0, :, :, y, x]
                    assert torch.equal(flow, before["flow"][row, 0, :, :, y, x])
    assert torch.equal(after["label"], before["label"])


def test_noise_is_not_recoloured_with_its_clip() -> None:
    plain, coloured = erased(1.0)["clips"], erased(1.0, color=0.5)["clips"]
    rng = sample_generator(11, 2, 7, 0, "erasing")
    rng.random()
    box = draw_patch(20, 30, rng).box
    assert torch.equal(coloured[0][..., *box], plain[0][..., *box] / 255)


def test_share_of_clips_and_shapes_of_boxes_follow_the_paper() -> None:
    patches = [draw_patch(200, 200, sample_generator(0, 0, i)) for i in range(600)]
    sizes = np.array([patch.noise.shape[1:] for patch in patches])
    areas = sizes.prod(axis=1) / 200**2
    assert areas.min() > AREA[0] * 0.9
    assert areas.max() <= AREA[1] * 1.02
    whole = areas[(sizes < 200).all(axis=1)]
    assert abs(np.median(whole) - 0.19) < 0.03
    aspects = sizes[:, 0] / sizes[:, 1]
    assert ASPECT[0] * 0.9 < aspects.min()
    assert aspects.max() < ASPECT[1] * 1.1
    assert abs(float(np.log(aspects).mean())) < 0.1
    ends = [(p.top + h, p.left + w) for p, (h, w) in zip(patches, sizes, strict=True)]
    assert np.max(ends) <= 200
    assert min(p.top for p in patches) == 0
    noise = patches[0].noise
    assert abs(float(noise.mean()) - 127.5) < 4 * 74 / math.sqrt(noise.size)


def test_probability_is_that_of_a_clip() -> None:
    indices = list(range(300))
    samples: VideoBatch = {
        "clips": torch.zeros((300, 1, 3, 1, 8, 8), dtype=torch.uint8),
        "label": torch.zeros(300, dtype=torch.int64),
        "index": torch.tensor(indices),
        "repeat": torch.zeros(300, dtype=torch.int64),
        "epoch": 0,
    }
    made = StandardAugmentation(0.0, erase_probability=0.25)
    after = made.augment(samples, BatchDraws.of(0, samples), CLASSES)["clips"]
    share = (after.flatten(1) > 0).any(1).float().mean()
    assert abs(float(share) - 0.25) < 0.08


def test_share_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"erase_probability=1.5 is not possible; .* \[0, 1\]"):
        StandardAugmentation(erase_probability=1.5)
