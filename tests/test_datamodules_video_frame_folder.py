"""`FrameFolderReader`: naming found by looking, gaps and oddities named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.video.errors import VideoError
from datamodules.video.frame_folder import FrameFolderReader


def fill(
    folder: Path, pattern: str, numbers: range | list[int], size: tuple[int, int] = (12, 8)
) -> Path:
    """PNG or JPEG images (width, height) whose grey level is ten times their number."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        Image.new("RGB", size, (10 * number,) * 3).save(folder / pattern.format(number))
    return folder


def levels(reader: FrameFolderReader, indices: list[int]) -> list[int]:
    return reader.get_frames(indices)[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    "pattern",
    [
        "img_{:05d}.png",
        "image_{:05d}.png",
        "{:05d}.png",
        "{:06d}.jpg",
        "frame_{:06d}.JPG",
        "frame{:06d}.jpeg",
        "{:d}.bmp",
        "v_01-frame{}.png",
    ],
)
def test_naming_is_found_by_looking(tmp_path: Path, pattern: str, first: int) -> None:
    reader = FrameFolderReader(fill(tmp_path / "a", pattern, range(first, first + 12)))
    assert reader.num_frames == 12
    assert (reader.height, reader.width) == (8, 12)
    assert levels(reader, [11, 0, 3, 3]) == [10 * (first + i) for i in (11, 0, 3, 3)]


def test_real_folder_equals_its_images(test_data: Path) -> None:
    folder = test_data / "weizmann_4" / "frames" / "bend_person0"
    names = sorted(folder.iterdir())
    with FrameFolderReader(folder, frame_rate=25) as reader:
        assert reader.num_frames == len(names)
        got = reader.get_frames([5, len(names) - 1])
    for frame, name in zip(got, (names[5], names[-1]), strict=True):
        with Image.open(name) as image:
            expected = np.asarray(image.convert("RGB"))
        assert np.array_equal(frame.permute(1, 2, 0).numpy(), expected)


def test_times_follow_the_frame_rate(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", "{:05d}.png", range(1, 5))
    np.testing.assert_array_equal(FrameFolderReader(folder, 12).timestamps, np.arange(4) / 12)
    assert FrameFolderReader(folder).timestamps.tolist() == [0, 1, 2, 3]
    for rate in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="frame_rate"):
            FrameFolderReader(folder, rate)


def test_grey_images_have_three_equal_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 12), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "img_1.png")
    frame = FrameFolderReader(tmp_path).get_frames([0])[0]
    assert torch.equal(frame, torch.from_numpy(pixels).expand(3, 8, 12))


def test_optical_flow_beside_the_frames_is_left_aside(tmp_path: Path) -> None:
    for pattern in ("img_{:05d}.png", "flow_x_{:05d}.png", "flow_y_{:05d}.png"):
        fill(tmp_path / "a", pattern, range(1, 5))
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "a" / "._img_00001.png").touch()  # what macOS leaves in archives
    assert levels(FrameFolderReader(tmp_path / "a"), [0, 3]) == [10, 40]


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [([1, 2, 4], "image 3 is missing"), ([0, 2], "image 1 is"), ([3, 4], "image 1 is")],
)
def test_gap_is_named(tmp_path: Path, numbers: list[int], missing: str) -> None:
    with pytest.raises(VideoError, match=missing) as caught:
        FrameFolderReader(fill(tmp_path / "a", "{:05d}.png", numbers))
    assert caught.value.reason == "missing frame"


def test_folder_that_is_not_one_series_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "two", "left_{}.png", range(3))
    with pytest.raises(VideoError, match=r"several series of images: left_\*.png, right_\*.png"):
        FrameFolderReader(fill(tmp_path / "two", "right_{}.png", range(3)))
    fill(tmp_path / "twice", "{:05d}.png", range(3))
    with pytest.raises(VideoError, match="number 2 occurs twice"):
        FrameFolderReader(fill(tmp_path / "twice", "{:03d}.png", [2]))
    (tmp_path / "none").mkdir()
    for folder, reason in (("none", "no frames"), ("nowhere", "missing")):
        with pytest.raises(VideoError) as caught:
            FrameFolderReader(tmp_path / folder)
        assert caught.value.reason == reason


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a", "{:05d}.png", range(1, 4))
    reader = FrameFolderReader(fill(tmp_path / "a", "{:05d}.png", [4], size=(6, 8)))
    assert levels(reader, [2]) == [30]
    with pytest.raises(VideoError, match=r"changing size: 00004\.png is 6x8"):
        reader.get_frames([2, 3])


def test_broken_image_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", "{:05d}.jpg", range(1, 4), size=(64, 64))
    image = folder / "00002.jpg"
    image.write_bytes(image.read_bytes()[:-40])
    reader = FrameFolderReader(folder)
    with pytest.raises(VideoError, match=r"damaged: 00002\.jpg"):
        reader.get_frames([1])
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(folder / "00003.jpg", format="PNG")
    with pytest.raises(VideoError, match=r"00003\.jpg has more than 8 bits"):
        reader.get_frames([2])


def test_opening_reads_no_image(tmp_path: Path) -> None:
    for number in range(1, 4):
        (tmp_path / f"{number:05d}.jpg").write_bytes(b"no image")
    reader = FrameFolderReader(tmp_path)
    assert reader.num_frames == 3
    for read in (lambda: reader.height, lambda: reader.get_frames([2])):
        with pytest.raises(VideoError, match=r"damaged: 00001\.jpg does not decode"):
            read()


@pytest.mark.parametrize(
    ("side", "sentence"),
    [(6000, r"00001\.png is 6000x6000"), (9500, r"00001\.png"), (14000, r"00001\.png")],
)
def test_huge_image_is_refused_before_it_is_decoded(
    tmp_path: Path, side: int, sentence: str
) -> None:
    """At 9,500 pixels Pillow warns, at 14,000 it raises by itself."""
    Image.new("1", (side, side)).save(tmp_path / "00001.png")
    with pytest.raises(VideoError, match=sentence) as caught:
        FrameFolderReader(tmp_path).get_frames([0])
    assert caught.value.reason == "too large"


def test_only_formats_of_frames_are_opened(tmp_path: Path) -> None:
    """Pillow hands PostScript over to another program, whatever the file is called."""
    Image.new("RGB", (8, 8)).save(tmp_path / "00001.jpg", format="EPS")
    with pytest.raises(VideoError, match=r"damaged: 00001\.jpg .*cannot identify"):
        FrameFolderReader(tmp_path).get_frames([0])


def test_indices_outside_name_the_range(tmp_path: Path) -> None:
    reader = FrameFolderReader(fill(tmp_path / "a", "{:05d}.png", range(1, 4)))
    with pytest.raises(IndexError, match="frames 0 to 2, got 3"):
        reader.get_frames([3])
    assert reader.get_frames([]).shape == (0, 3, 8, 12)
