"""Crops against slow, explicit forms."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from datamodules.clips.boxes import (
    Box,
    multi_scale_box,
    random_box,
    random_resized_box,
    working_size,
)
from datamodules.clips.crops import Crops, crop_and_resize, evaluation_crops


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def coordinate_frames(height: int, width: int, num_frames: int = 2) -> Tensor:
    """Frames (T, 3, H, W) whose channels are row, column and frame number."""
    frames = torch.zeros(num_frames, 3, height, width, dtype=torch.uint8)
    frames[:, 0] = torch.arange(height, dtype=torch.uint8)[:, None]
    frames[:, 1] = torch.arange(width, dtype=torch.uint8)
    frames[:, 2] = torch.arange(num_frames, dtype=torch.uint8)[:, None, None]
    return frames


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("height", "width", "short_side", "aspect", "expected"),
    [
        (240, 320, 256, None, (256, 341)),
        (320, 240, 256, None, (341, 256)),
        (100, 100, 64, None, (64, 64)),
        (240, 427, 240, 4 / 3, (240, 320)),
        (720, 404, 256, 4 / 3, (256, 341)),
        (200, 300, 100, 0.5, (200, 100)),
    ],
)
def test_working_size_keeps_or_forces_the_aspect(
    height: int, width: int, short_side: int, aspect: float | None, expected: tuple[int, int]
) -> None:
    assert working_size(height, width, short_side, aspect) == expected


def test_box_scaled_keeps_position_and_stays_inside() -> None:
    assert Box(16, 32, 224, 112).scaled((256, 512), (128, 256)) == Box(8, 16, 112, 56)
    assert Box(0, 0, 256, 341).scaled((256, 341), (37, 53)) == Box(0, 0, 37, 53)
    assert Box(255, 340, 1, 1).scaled((256, 341), (10, 10)) == Box(9, 9, 1, 1)


def test_random_box_reaches_every_position_equally_often() -> None:
    generator = rng()
    positions = Counter(random_box((5, 6), 4, generator) for _ in range(6000))
    assert set(positions) == {Box(t, l, 4, 4) for t in range(2) for l in range(3)}  # noqa: E741
    assert all(abs(count - 1000) < 150 for count in positions.values())


def test_multi_scale_box_draws_ten_shapes_at_thirteen_positions() -> None:
    generator = rng()
    boxes = Counter(multi_scale_box((240, 320), generator) for _ in range(20000))
    sides = [240, 210, 180, 158]
    shapes = {(h, w) for h in sides for w in sides if abs(sides.index(h) - sides.index(w)) < 2}
    assert len(shapes) == 10
    assert {(box.height, box.width) for box in boxes} == shapes
    for height, width in shapes - {(240, 240), (240, 210)}:
        down, right = (240 - height) // 4, (320 - width) // 4
        grid = {(d, r) for d in (0, 2, 4) for r in (0, 2, 4)}
        grid |= {(1, 1), (1, 3), (3, 1), (3, 3)}
        positions = {(b.top, b.left) for b in boxes if (b.height, b.width) == (height, width)}
        assert positions == {(d * down, r * right) for d, r in grid}
    assert all(b.top + b.height <= 240 and b.left + b.width <= 320 for b in boxes)


def test_random_resized_box_keeps_area_and_ratio_in_range() -> None:
    generator = rng()
    for _ in range(500):
        box = random_resized_box((200, 300), (0.2, 0.9), (0.75, 4 / 3), generator)
        assert 0 <= box.top <= 200 - box.height
        assert 0 <= box.left <= 300 - box.width
        assert 0.19 < box.height * box.width / 60000 < 0.91
        assert 0.73 < box.width / box.height < 1.37


def test_random_resized_box_that_cannot_fit_is_the_largest_central_one() -> None:
    assert random_resized_box((10, 1000), (1, 1), (0.5, 2), rng()) == Box(0, 490, 10, 20)
    assert random_resized_box((1000, 10), (1, 1), (0.5, 2), rng()) == Box(490, 0, 20, 10)


def test_crop_and_resize_equals_cutting_and_resizing_each_frame() -> None:
    frames = noise(3, 3, 60, 80)
    box = Box(7, 11, 40, 50)
    result = crop_and_resize(frames, box, 32)
    assert result.dtype == torch.uint8
    for frame, crop in zip(frames, result, strict=True):
        cut = frame[:, 7:47, 11:61].float()[None]
        expected = torch.nn.functional.interpolate(
            cut, size=(32, 32), mode="bilinear", antialias=True, align_corners=False
        )[0]
        assert (expected - crop).abs().max() <= 1.0


def test_crop_and_resize_does_not_depend_on_the_memory_layout() -> None:
    frames = noise(2, 3, 60, 80)
    channels_last = frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    box = Box(3, 5, 50, 44)
    assert torch.equal(crop_and_resize(frames, box, 32), crop_and_resize(channels_last, box, 32))


@pytest.mark.parametrize("train_crop", ["short_side", "random_resized", "multi_scale", "center"])
def test_train_crop_is_the_same_for_all_frames_and_follows_its_generator(train_crop: Any) -> None:
    transform = Crops(size=48, short_side=64, train_crop=train_crop)
    frames = noise(1, 3, 90, 120).expand(4, -1, -1, -1)
    crop = transform.draw(90, 120, rng(1))(frames)
    assert crop.shape == (4, 3, 48, 48)
    assert crop.dtype == torch.uint8
    assert all(torch.equal(frame, crop[0]) for frame in crop)
    assert torch.equal(crop, transform.draw(90, 120, rng(1))(frames))
    others = [transform.draw(90, 120, rng(seed))(frames) for seed in range(2, 6)]
    assert all(torch.equal(crop, other) for other in others) == (train_crop == "center")


def test_short_side_crop_in_source_pixels_matches_resize_then_crop() -> None:
    transform = Crops(size=64, short_side=80, max_short_side=100)
    y, x = torch.meshgrid(torch.arange(160), torch.arange(200), indexing="ij")
    smooth = (128 + 60 * torch.sin(x / 15.0) + 60 * torch.cos(y / 19.0)).to(torch.uint8)
    frames = smooth.expand(1, 3, -1, -1)
    for seed in range(10):
        reference = rng(seed)
        short_side = int(reference.integers(80, 101))
        height, width = short_side, round(short_side * 200 / 160)
        box = random_box((height, width), 64, reference)
        resized = tvf.resize(frames, [height, width], antialias=True)
        expected = tvf.crop(resized, *box)
        got = transform.draw(160, 200, rng(seed))(frames)
        assert (expected.float() - got.float()).abs().mean() < 4


def source_box(crops: Crops, height: int, width: int, rng: np.random.Generator) -> Box:
    """A training crop in pixels of the source."""
    crop = crops.draw(height, width, rng)
    return crop.box.scaled(crop.frame, (height, width))


def test_short_sides_are_drawn_from_the_whole_range() -> None:
    transform = Crops(size=64, short_side=64, max_short_side=128)
    sides = [source_box(transform, 256, 256, rng(seed)).height for seed in range(300)]
    # A 64-pixel crop of a short side of 64 to 128 is 256 down to 128 source pixels.
    assert 128 <= min(sides) <= 132
    assert 248 <= max(sides) <= 256


def test_forced_aspect_stretches_the_source_box() -> None:
    transform = Crops(size=240, short_side=240, train_crop="center", aspect=4 / 3)
    # 240x240 in the middle of 240x320, seen in a source of twice the height.
    assert source_box(transform, 480, 320, rng()) == Box(0, 40, 480, 240)


def explicit_crops(frames: Tensor, positions: list[tuple[int, int]], size: int) -> list[Tensor]:
    return [frames[:, :, top : top + size, left : left + size] for top, left in positions]


@pytest.mark.parametrize(
    ("height", "width", "positions"),
    [(40, 60, [(4, 0), (4, 14), (4, 28)]), (60, 40, [(0, 4), (14, 4), (28, 4)])],
)
def test_three_crops_lie_along_the_long_side(
    height: int, width: int, positions: list[tuple[int, int]]
) -> None:
    frames = coordinate_frames(height, width)
    crops = evaluation_crops(frames, 32, 3)
    assert torch.equal(crops, torch.stack(explicit_crops(frames, positions, 32)))
    assert torch.equal(evaluation_crops(frames, 32, 1)[0], crops[1])


def test_ten_crops_are_corners_and_centre_then_their_mirror_images() -> None:
    frames = coordinate_frames(40, 60)
    crops = evaluation_crops(frames, 32, 10)
    positions = [(0, 0), (0, 28), (8, 0), (8, 28), (4, 14)]
    assert torch.equal(crops[:5], torch.stack(explicit_crops(frames, positions, 32)))
    for crop, mirror in zip(crops[:5], crops[5:], strict=True):
        for column in range(32):
            assert torch.equal(mirror[..., column], crop[..., 31 - column])
    # The mirrored top left crop still shows rows from the top, columns from right to left.
    assert crops[5, 0, 0, :, 0].tolist() == list(range(32))
    assert crops[5, 0, 1, 0].tolist() == list(range(31, -1, -1))


def test_full_frame_and_crops_start_from_the_resized_frame() -> None:
    frames = noise(2, 3, 120, 200)
    transform = Crops(size=48, short_side=60, test_size=56)
    resized = tvf.resize(frames, [60, 100], antialias=True)
    assert torch.equal(transform.test(frames, "full"), resized[None])
    assert torch.equal(transform.test(frames)[0], resized[:, :, 2:58, 22:78])
    assert transform.test(frames, 10).shape == (10, 2, 3, 56, 56)


def test_corners_that_coincide_are_refused() -> None:
    transform = Crops(size=224, short_side=256, test_size=256)
    with pytest.raises(ValueError, match=r"num_crops=10 .* 256 pixels coincide .* test_size lower"):
        transform.check_crops(10)
    transform.check_crops(3)
    Crops(size=224, short_side=256).check_crops(10)


def test_unknown_crops_are_refused() -> None:
    crops: Any = 5
    with pytest.raises(ValueError, match="num_crops=5 is not possible; set it to 1, 2, 3, 10"):
        evaluation_crops(coordinate_frames(40, 60), 32, crops)
    with pytest.raises(ValueError, match="a crop of 50 pixels does not fit in a frame of 40x60"):
        evaluation_crops(coordinate_frames(40, 60), 50, 1)


RESIZED = {"train_crop": "random_resized"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 300, "short_side": 256}, "short_side=256 is smaller than a crop of size=300"),
        ({"test_size": 288}, "short_side=256 is smaller than a crop of size=224, test_size=288"),
        ({"max_short_side": 250}, "max_short_side=250 is below short_side=256"),
        ({"max_short_side": 320, "train_crop": "center"}, 'has no effect on train_crop="center"'),
        ({"aspect": 0.0}, "aspect=0.0 is not possible"),
        (
            {"scale": (0.5, 1.5), **RESIZED},
            r"scale=\(0.5, 1.5\) is not a range of positive numbers up to 1",
        ),
        ({"ratio": (2, 1), **RESIZED}, r"ratio=\(2, 1\) is not a range"),
        ({"scale": (0.5, 1.0)}, r"scale=\[0.5, 1.0\] has no effect on train_crop=\"short_side\""),
        ({"train_crop": "centre"}, 'train_crop="centre" is not possible'),
    ],
)
def test_spatial_transform_refuses_settings_that_cannot_work(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Crops(**arguments)
