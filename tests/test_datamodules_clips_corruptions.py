"""Corruptions against slow, explicit forms: what they change, how strongly, by which draws."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from video_files import scene

from datamodules.clips.corruptions.catalogue import (
    CORRUPTIONS,
    FAMILIES,
    Corruption,
    parse_corruptions,
)
from datamodules.clips.probes import parse_change
from datamodules.errors import UserError
from datamodules.randomness import VideoDraws

pytestmark = pytest.mark.usefixtures("one_thread")

PIXELS = [name for name, kind in CORRUPTIONS.items() if kind.family != "temporal"]
TEMPORAL = [name for name, kind in CORRUPTIONS.items() if kind.family == "temporal"]
CODECS = ["mpeg2", "mpeg4", "h264"]
Numbers = NDArray[np.int64]


def frames_of(count: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(scene(count, height, width)).permute(0, 3, 1, 2)


def corrupted(words: str, frames: Tensor, numbers: Numbers | None = None) -> Tensor:
    name, _, severity = words.partition("@")
    if numbers is None:
        numbers = np.arange(len(frames))[None]
    return Corruption(name, int(severity)).pixels(frames, numbers, "a video")


def sources(words: str, num_frames: int, video_id: str = "a video") -> list[int]:
    name, _, severity = words.partition("@")
    chosen = np.arange(num_frames)[None]
    shown: list[int] = (
        Corruption(name, int(severity)).order(chosen, num_frames, video_id)[0].tolist()
    )
    return shown


def distance(one: Tensor, other: Tensor) -> float:
    return float(((one.float() - other.float()) ** 2).mean())


def test_catalogue_holds_five_families_of_five_severities() -> None:
    assert {kind.family for kind in CORRUPTIONS.values()} == set(FAMILIES)
    assert {len(kind.strengths) for kind in CORRUPTIONS.values()} == {5}
    planned = parse_corruptions("all")
    assert len(planned) == len(set(map(str, planned))) == 5 * len(CORRUPTIONS) == 95
    assert len({corruption.file_part for corruption in planned}) == 95


@pytest.mark.parametrize("name", PIXELS)
def test_severity_takes_frames_further_from_the_plain_ones(name: str) -> None:
    frames = frames_of(6, 80, 100)
    numbers = np.arange(6).reshape(2, 3)
    found = [corrupted(f"{name}@{severity}", frames, numbers) for severity in range(1, 6)]
    assert all(got.shape == frames.shape and got.dtype == torch.uint8 for got in found)
    distances = [distance(got, frames) for got in found]
    assert distances[0] > 1
    if name == "static_rotation":  # beyond 15 degrees every picture is as wrong
        distances = distances[:2]
    assert distances == sorted(distances)
    assert len(set(distances)) == len(distances)


@pytest.mark.parametrize("name", [name for name in PIXELS if name not in CODECS])
def test_a_frame_is_corrupted_alike_in_every_clip_that_shows_it(name: str) -> None:
    frames = frames_of(6, 40, 52)
    whole = corrupted(f"{name}@3", frames)
    part = corrupted(f"{name}@3", frames[[4, 1]], np.array([[4], [1]]))
    assert torch.equal(part, whole[[4, 1]])


@pytest.mark.parametrize("name", ["gaussian_noise", "motion_blur", "random_rotation", "jumbling"])
def test_draws_follow_the_video_and_their_own_seed(name: str) -> None:
    frames, chosen = frames_of(40, 30, 36), np.arange(40)[None]

    def change(seed: int, video_id: str) -> tuple[Any, bytes]:
        corruption = Corruption(name, 3, seed)
        order = corruption.order(chosen, 40, video_id)
        return order.tolist(), corruption.pixels(frames, order, video_id).numpy().tobytes()

    first = change(0, "a")
    assert first == change(0, "a")
    assert first != change(1, "a")
    assert first != change(0, "b")


def test_noise_has_the_stated_strength() -> None:
    grey = torch.full((1, 3, 200, 200), 128, dtype=torch.uint8)

    def spread(words: str, frames: Tensor) -> float:
        return float(corrupted(words, frames).float().std() / 255)

    assert spread("gaussian_noise@2", grey) == pytest.approx(0.12, rel=0.02)
    assert spread("gaussian_noise@1", grey // 2) == pytest.approx(0.08, rel=0.02)
    # of n photons on average the spread is the root of n: here n = 128 / 255 * 100
    assert spread("shot_noise@2", grey) == pytest.approx(math.sqrt(128 / 255 / 100), rel=0.02)
    assert spread("speckle_noise@1", grey) == pytest.approx(0.15 * 128 / 255, rel=0.02)
    assert spread("speckle_noise@1", grey // 2) == pytest.approx(0.15 * 64 / 255, rel=0.02)
    noisy = corrupted("impulse_noise@5", grey)
    for value, share in ((0, 0.27 / 2), (255, 0.27 / 2), (128, 1 - 0.27)):
        assert float((noisy == value).float().mean()) == pytest.approx(share, abs=0.005)
    assert float(corrupted("shot_noise@5", grey).float().mean()) == pytest.approx(128, abs=0.5)


def convolved_slowly(frame: NDArray[np.uint8], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every pixel of a channel (H, W) by itself; borders are mirrored about the outer pixels."""
    reach = len(kernel) // 2
    wide = np.pad(frame.astype(np.float64), reach, mode="reflect")
    result = np.zeros(frame.shape)
    for row, column in np.ndindex(*frame.shape):
        window = wide[row : row + len(kernel), column : column + len(kernel)]
        result[row, column] = (window * kernel[::-1, ::-1]).sum()
    return result


def test_defocus_is_a_convolution_with_a_disc() -> None:
    frames = frames_of(1, 40, 44)
    rows, columns = np.mgrid[-3:4, -3:4]
    disc = (rows**2 + columns**2 <= 9).astype(np.float64)
    expected = convolved_slowly(frames[0, 1].numpy(), disc / disc.sum())
    got = corrupted("defocus_blur@1", frames)[0, 1].numpy()  # its rim is not softened
    assert np.abs(got - expected).max() <= 0.51
    dot = torch.zeros(1, 3, 81, 81, dtype=torch.uint8)
    dot[..., 40, 40] = 255
    for severity, radius in ((2, 4), (3, 6)):
        touched = corrupted(f"defocus_blur@{severity}", dot)[0, 0] > 0
        assert touched[40].sum() in (2 * radius + 1, 2 * radius + 3)


def test_motion_blur_is_a_trail_within_45_degrees_of_the_horizontal() -> None:
    dot = torch.zeros(30, 3, 101, 101, dtype=torch.uint8)
    dot[..., 50, 50] = 255
    angles = []
    for trail in corrupted("motion_blur@1", dot)[:, 0]:
        rows, columns = (places - 50 for places in torch.where(trail > 0))
        assert trail.sum() == pytest.approx(255, abs=12)  # rounded
        assert columns.min() == 0 < columns.max() <= 20  # from the pixel to one side
        angles.append(math.atan2(float(rows[columns.argmax()]), float(columns.max())))
        assert (rows.abs() <= columns + 1).all()
    assert min(angles) < -0.3
    assert max(angles) > 0.3
    flat = torch.full((1, 3, 50, 50), 90, dtype=torch.uint8)
    assert torch.equal(corrupted("motion_blur@5", flat), flat)


def test_zoom_blur_is_the_mean_of_zooms_about_the_middle() -> None:
    frames = frames_of(1, 31, 40)
    plain = frames[0, 2].numpy().astype(np.float64)
    factors = np.arange(1, 1.21, 0.02)
    total = plain.copy()
    for factor in factors:
        rows, columns = (
            side / 2 - 0.5 + (np.arange(side) - side / 2 + 0.5) / factor for side in plain.shape
        )
        along = np.stack([np.interp(columns, np.arange(40), row) for row in plain])
        total += np.stack([np.interp(rows, np.arange(31), column) for column in along.T]).T
    got = corrupted("zoom_blur@3", frames)[0, 2].numpy()
    assert np.abs(got - total / (len(factors) + 1)).max() <= 0.51
    centre = frames[0, :, 15, 19:21].float().mean()
    assert corrupted("zoom_blur@5", frames)[0, :, 15, 19:21].float().mean() == pytest.approx(
        float(centre), abs=25
    )


@pytest.mark.parametrize(("severity", "degrees"), [(1, 7.5), (2, 15), (3, 30), (4, 45), (5, 90)])
def test_static_rotation_is_pillows(severity: int, degrees: float) -> None:
    frames = frames_of(2, 60, 90)
    got = corrupted(f"static_rotation@{severity}", frames)
    picture = Image.fromarray(frames[1].permute(1, 2, 0).numpy()).rotate(degrees)
    expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    assert (got[1] != expected).any(dim=0).float().mean() < 0.01  # pixels halfway between two
    square = frames[:, :, :, :60]
    if degrees == 90:
        turned = corrupted("static_rotation@5", square)
        assert torch.equal(turned, torch.rot90(square, 1, (-2, -1)))


def test_random_rotation_turns_each_frame_by_whole_degrees() -> None:
    frames = frames_of(1, 61, 61).expand(200, -1, -1, -1)
    got = corrupted("random_rotation@1", frames)
    known = {}
    for degrees in range(-7, 8):
        picture = Image.fromarray(frames[0].permute(1, 2, 0).numpy()).rotate(degrees)
        known[degrees] = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    drawn = [min(known, key=lambda d: distance(frame, known[d])) for frame in got]
    assert set(drawn) == set(known)


def test_translation_shifts_frames_and_mirrors_what_comes_in() -> None:
    frames = frames_of(1, 256, 300).expand(60, -1, -1, -1)
    shifts = set()
    for number, got in enumerate(corrupted("translation@5", frames)):
        rng = VideoDraws(0, "a video", "corruption translation").generator(number)
        up, left = rng.integers(0, 40, 2).tolist()
        shifts.add((up, left))
        assert torch.equal(got[:, : 256 - up, : 300 - left], frames[0, :, up:, left:])
        assert torch.equal(got[:, 256 - up :], got[:, 255 - 2 * up : 255 - up].flip(-2))
    assert max(up for up, _ in shifts) > 32
    assert min(left for _, left in shifts) < 8
    dots = torch.zeros(60, 3, 64, 64, dtype=torch.uint8)
    dots[..., 32, 32] = 255
    places = torch.nonzero(corrupted("translation@5", dots)[:, 0])[:, 1:]
    assert places.min() in (22, 23)  # 39 of 256 pixels are 10 of 64
    assert places.max() == 32


@pytest.mark.parametrize("name", CODECS)
def test_clips_are_coded_one_by_one_whatever_their_size(name: str) -> None:
    frames = frames_of(8, 49, 65)
    numbers = np.arange(8).reshape(2, 4)
    both = corrupted(f"{name}@3", frames, numbers)
    assert both.shape == frames.shape
    for _ in range(5):  # the same every time
        assert torch.equal(both, corrupted(f"{name}@3", frames, numbers))
    alone = corrupted(f"{name}@3", frames[4:], numbers[1:])
    assert torch.equal(both[4:], alone)


def test_sampling_holds_every_frame_of_a_lower_rate() -> None:
    assert sources("sampling@2", 11) == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8]
    assert sources("reverse_sampling@2", 11) == [8, 8, 8, 4, 4, 4, 4, 0, 0, 0, 0]
    assert set(sources("sampling@5", 25)) == {0}


def test_jumbling_shuffles_within_segments_and_box_jumbling_the_segments() -> None:
    shown = sources("jumbling@3", 30)  # segments of 8
    assert shown != list(range(30))
    for start in range(0, 30, 8):
        assert sorted(shown[start : start + 8]) == list(range(30))[start : start + 8]
    boxes = sources("box_jumbling@1", 30)  # segments of 4
    assert sorted(boxes) == list(range(30))
    assert boxes != list(range(30))
    starts = [place for place in range(30) if boxes[place] % 4 == 0]
    for start in starts:
        length = 2 if boxes[start] == 28 else 4
        assert boxes[start : start + length] == list(range(boxes[start], boxes[start] + length))


@pytest.mark.parametrize(("severity", "kept"), [(1, 40), (2, 20), (3, 10), (4, 5), (5, 1)])
def test_freezing_holds_a_share_of_the_frames(severity: int, kept: int) -> None:
    shown = sources(f"freezing@{severity}", 100)
    assert len(set(shown)) == kept
    assert shown == sorted(shown)
    held = sorted(set(shown))
    for place, frame in enumerate(shown):
        assert frame == max([h for h in held if h <= place], default=held[0])
    assert len(set(sources("freezing@4", 20))) == 2  # never fewer there
    assert sources(f"freezing@{severity}", 1) == [0]


@pytest.mark.parametrize("name", TEMPORAL)
def test_clips_are_drawn_from_one_corrupted_video(name: str) -> None:
    corruption = Corruption(name, 2)
    whole = corruption.order(np.arange(50)[None], 50, "a")[0]
    clips = np.array([[3, 5, 7], [5, 6, 49]])
    assert np.array_equal(corruption.order(clips, 50, "a"), whole[clips])
    frames = frames_of(2, 20, 20)
    assert corruption.pixels(frames, np.array([[0, 1]]), "a") is frames
    assert Corruption("jpeg", 2).order(clips, 50, "a") is clips


def test_words_are_read_in_the_order_of_the_catalogue() -> None:
    read = [str(corruption) for corruption in parse_corruptions(" jpeg@5, noise@2,shot_noise@2 ")]
    assert read == [
        *("gaussian_noise@2", "shot_noise@2", "impulse_noise@2", "speckle_noise@2"),
        "jpeg@5",
    ]
    assert [c.severity for c in parse_corruptions("zoom_blur", 7)] == [1, 2, 3, 4, 5]
    assert {c.seed for c in parse_corruptions("zoom_blur", 7)} == {7}
    assert parse_change("jpeg@5", 7) == Corruption("jpeg", 5, 7)
    assert str(parse_change("motion_blur(0.1)", 0)) == "motion_blur(0.1)"
    assert str(parse_change("motion_blur@1", 0)) == "motion_blur@1"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("fog", "'fog' is no corruption; give `all`, a family .noise, blur, digital, temporal"),
        ("noise,,blur", "'' is no corruption"),
        ("jpeg@6", "there is no severity 6; give 1 to 5, say jpeg@3"),
        ("jpeg@0", "there is no severity 0"),
        ("jpeg@x", "is no corruption"),
    ],
)
def test_words_that_name_no_corruption_are_refused(words: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_corruptions(words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("jpeg", "stands for 5 severities; give one, say data.evaluation.probe=jpeg@3"),
        ("fog@3", "is no probe; choose one of shuffled.*or a corruption, such as jpeg@3, of gauss"),
        ("motion_blur", "the strength of motion_blur is a number from 0.01"),
        ("jpeg@9", "there is no severity 9"),
    ],
)
def test_one_change_is_asked_of_a_probe(words: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_change(words, 0)
