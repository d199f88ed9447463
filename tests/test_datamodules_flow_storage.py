"""Storing flow and reading it back, in our forms and in those of others."""

import resource
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from datamodules.flow.reading import open_flow
from datamodules.flow.storage import FlowRecord, FlowStorage, is_stored, open_flow_writer
from datamodules.video.errors import VideoError

Codes = npt.NDArray[np.uint8]
STORAGES: list[FlowStorage] = ["jpeg", "video"]
NUM_FRAMES = 7


def smooth_codes(num_fields: int, height: int, width: int) -> Codes:
    """Codes over their full range, as smooth as flow is."""
    axes = np.ogrid[:num_fields, :2, :height, :width]
    waves = np.sin(axes[0] / 3 + axes[1] + axes[2] / 9) + np.cos(axes[3] / 11)
    return np.clip(np.rint(127.5 + 75 * waves), 0, 255).astype(np.uint8)


def store(folder: Path, storage: FlowStorage, codes: Codes) -> Path:
    folder.mkdir(parents=True)
    with open_flow_writer(storage, folder, *codes.shape[2:]) as writer:
        writer.write(codes[:4])
        writer.write(codes[4:])
    FlowRecord(len(codes), *codes.shape[2:], clipped=0.0).write(folder)
    return folder


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("shape", [(13, 40, 56), (1, 33, 47)])
def test_stored_codes_come_back(
    storage: FlowStorage, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    codes = smooth_codes(*shape)
    assert codes.min() == 0
    assert codes.max() == 255

    with open_flow(store(tmp_path / "a", storage, codes), num_frames=len(codes) + 1) as reader:
        assert (reader.num_fields, reader.height, reader.width) == shape
        flow = reader.get_flow(range(len(codes))).numpy()

    assert flow.shape == codes.shape
    assert flow.dtype == np.uint8
    error = np.abs(flow.astype(int) - codes)
    assert error.max() <= 4
    assert error.mean() < 0.5


@pytest.mark.parametrize("storage", STORAGES)
def test_fields_come_in_the_order_asked(storage: FlowStorage, tmp_path: Path) -> None:
    with open_flow(store(tmp_path / "a", storage, smooth_codes(9, 40, 56))) as reader:
        whole = reader.get_flow(range(9))
        assert np.array_equal(reader.get_flow([8, 0, 3, 3]), whole[[8, 0, 3, 3]])
        with pytest.raises(IndexError, match="frames 0 to 8, got 9"):
            reader.get_flow([9])


@pytest.mark.parametrize("storage", STORAGES)
def test_file_that_cannot_be_written_whole_is_an_error(
    storage: FlowStorage, tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            store(tmp_path / "a", storage, smooth_codes(9, 40, 56))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("storage", STORAGES)
def test_flow_is_stored_only_with_all_its_files(storage: FlowStorage, tmp_path: Path) -> None:
    assert not is_stored(tmp_path / "a", storage)
    folder = store(tmp_path / "a", storage, smooth_codes(5, 40, 56))
    assert is_stored(folder, storage)
    assert not is_stored(folder, "video" if storage == "jpeg" else "jpeg")

    kept = (folder / "flow.json").read_text()
    for broken in ("", "[1]", "{}", kept.replace("num_fields", "fields")):
        (folder / "flow.json").write_text(broken)
        assert not is_stored(folder, storage)
    (folder / "flow.json").write_text(kept)
    assert is_stored(folder, storage)
    sorted(folder.glob("flow_y*"))[-1].unlink()
    assert not is_stored(folder, storage)


def test_stack_fits_frames_5_to_5_before_the_last(tmp_path: Path) -> None:
    num_frames = 14
    folder = store(tmp_path / "a", "jpeg", smooth_codes(num_frames - 1, 16, 16))

    with open_flow(folder, num_frames) as reader:
        fits = []
        for frame in range(num_frames):
            try:
                reader.get_flow(range(frame - 5, frame + 5))
            except IndexError:
                continue
            fits.append(frame)

    assert fits == list(range(5, num_frames - 5))


def save(path: Path, level: int, size: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path, quality=100)


def fill(root: Path, across: str, down: str, first: int = 1, count: int = NUM_FRAMES - 1) -> None:
    """Images whose level is ten times the number of the frame, one more for the second kind."""
    for i in range(count):
        save(root / across.format(first + i), 10 * i)
        save(root / down.format(first + i), 10 * i + 1)


@pytest.mark.parametrize(
    ("across", "down", "first"),
    [
        ("v1/flow_x_{:05d}.jpg", "v1/flow_y_{:05d}.jpg", 1),
        ("v1/flow_x_{:05d}.jpg", "v1/flow_y_{:05d}.jpg", 0),
        ("v1/v1-x_{:05d}.jpg", "v1/v1-y_{:05d}.jpg", 1),
        ("v1/x_{:04d}.png", "v1/y_{:04d}.png", 1),
        ("u/v1/frame{:06d}.jpg", "v/v1/frame{:06d}.jpg", 1),
        ("v1/u/frame{:06d}.jpg", "v1/v/frame{:06d}.jpg", 1),
    ],
)
def test_namings_of_others_are_read(across: str, down: str, first: int, tmp_path: Path) -> None:
    fill(tmp_path, across, down, first)
    save(tmp_path / "v1" / "img_00001.jpg", 200)  # a frame in the same folder

    with open_flow(tmp_path / "v1", NUM_FRAMES) as reader:
        flow = reader.get_flow([5, 0, 2])

    assert (reader.num_fields, reader.height, reader.width) == (6, 8, 12)
    assert flow[:, :, 0, 0].tolist() == [[50, 51], [0, 1], [20, 21]]


def test_separate_folders_may_hold_class_folders(tmp_path: Path) -> None:
    fill(tmp_path, "u/Punch/v1/frame{:06d}.jpg", "v/Punch/v1/frame{:06d}.jpg")

    with open_flow(tmp_path / "Punch" / "v1", NUM_FRAMES) as reader:
        assert reader.get_flow([1])[0, :, 0, 0].tolist() == [10, 11]


@pytest.mark.parametrize(("stored", "fields"), [(6, 6), (7, 6)])
def test_as_many_images_as_frames_leave_the_last_aside(
    stored: int, fields: int, tmp_path: Path
) -> None:
    fill(tmp_path, "flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg", count=stored)

    with open_flow(tmp_path, NUM_FRAMES) as reader:
        assert reader.num_fields == fields
    with open_flow(tmp_path) as reader:
        assert reader.num_fields == stored


@pytest.mark.parametrize("stored", [5, 8])
def test_flow_of_another_length_is_refused(stored: int, tmp_path: Path) -> None:
    fill(tmp_path, "flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg", count=stored)

    with pytest.raises(VideoError, match=f"{stored} flow images for 7 frames") as raised:
        open_flow(tmp_path, NUM_FRAMES)
    assert raised.value.reason == "missing frame"


def remove(folder: Path, name: str) -> None:
    (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "reason", "detail"),
    [
        (lambda p: remove(p, "flow_y_00006.jpg"), "missing frame", "6 horizontal and 5 vertical"),
        (lambda p: remove(p, "flow_x_00003.jpg"), "missing frame", "flow image 3 of x is missing"),
        (lambda p: save(p / "b-x_00002.jpg", 0), "not a video", "several series of flow"),
        (lambda p: save(p / "flow_y_00001.jpg", 0, (14, 8)), "changing size", "12x8 across"),
        (lambda p: save(p / "flow_y_00002.jpg", 0, (14, 8)), "changing size", "is 14x8"),
        (lambda p: (p / "flow_x_00004.jpg").write_bytes(b"?"), "damaged", "does not decode"),
        (lambda p: [f.unlink() for f in p.iterdir()], "no frames", "none of its 0 files"),
        (lambda p: p.rename(p.with_name("away")), "missing", "no such folder of optical flow"),
    ],
)
def test_incomplete_flow_is_refused_by_name(
    spoil: object, reason: str, detail: str, tmp_path: Path
) -> None:
    folder = tmp_path / "a"
    fill(folder, "flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg")
    assert callable(spoil)
    spoil(folder)

    with pytest.raises(VideoError, match=detail) as raised, open_flow(folder) as reader:
        reader.get_flow(range(6))
    assert raised.value.reason == reason


def test_flow_video_without_its_other_half_is_refused(tmp_path: Path) -> None:
    folder = store(tmp_path / "a", "video", smooth_codes(5, 40, 56))
    (folder / "flow_y.mp4").unlink()

    with pytest.raises(VideoError, match=r"flow_y.mp4: missing"):
        open_flow(folder)
