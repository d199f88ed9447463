"""Sliding windows: where they lie, what they read, and that each frame is decoded once."""

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor
from video_files import scene, whole, write

from datamodules import Crops, FlowSpec, FrameSampler, LiveFrames, UserError, VideoError
from datamodules.annotations.table import PackedStrings, VideoTable
from datamodules.batch import Views
from datamodules.clips.input_spec import InputSpec
from datamodules.dataset import VideoDataset
from datamodules.flow.sources import ComputedFlow
from datamodules.storage.source import Here
from datamodules.streaming.sliding import Window, WindowViews, slide
from datamodules.streaming.sources import FileFrames, TensorFrames, frames_at_rate
from datamodules.streaming.windows import (
    Spacing,
    WindowGrid,
    clips_of_window,
    covered_cells,
    read_length,
)
from datamodules.streaming.writing import VideoWriter
from datamodules.video.packet_stream import PacketStream

Marks = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
DENSE = FrameSampler(num_frames=4, frame_stride=3)
SEGMENTS = FrameSampler(num_segments=4)
CROPS = Crops(size=24, short_side=32)


def everything(begin: int, end: int) -> Marks:
    return np.ones(end - begin, np.bool_)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames of 40x56 at 25 frames per second, with B-frames and a key frame every 12."""
    path = tmp_path_factory.mktemp("streaming") / "video.mp4"
    return write(path, "libx264", scene(60, 40, 56), options={"g": "12", "bf": "2"})


def grid_of(num_frames: int | None, window: int, step: int, **more: object) -> WindowGrid:
    return WindowGrid.of(
        SEGMENTS,
        (window, step),
        num_frames=num_frames,
        frame_rate=25.0,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("num_frames", [1, 5, 15, 16, 17, 23, 24, 25, 40, 101])
@pytest.mark.parametrize(("window", "step"), [(16, 8), (16, 4), (16, 16), (16, 5), (7, 3), (1, 1)])
def test_windows_lie_as_counted_one_by_one(num_frames: int, window: int, step: int) -> None:
    plain = grid_of(num_frames, window, step, to_the_end=False)
    regular = [s for s in range(0, num_frames, step) if s + window <= num_frames] or [0]
    assert [plain.start(i) for i in range(len(regular))] == regular
    assert plain.start(len(regular)) is None
    if num_frames >= window:  # the length equation of localisation tools
        assert plain.num_windows == (num_frames - window) // step + 1
    grid = grid_of(num_frames, window, step)
    assert grid.num_windows is not None
    starts = [grid.start(i) or 0 for i in range(grid.num_windows)]
    assert starts[-1] + grid.length == num_frames
    assert starts[: len(regular)] == regular
    assert len(starts) - len(regular) == (regular[-1] + grid.length < num_frames)
    covering = np.zeros((-(-num_frames // grid.step), len(starts)), int)
    for i, start in enumerate(starts):
        for cell in covered_cells(start, grid):
            low, high = cell * grid.step, min((cell + 1) * grid.step, num_frames)
            assert start <= low < high <= start + grid.length
            covering[cell, i] = 1
    assert (covering.sum(1) >= 1).all()  # every moment has a label
    for begin, end in ((0, num_frames), (num_frames // 3, num_frames // 2 + 1)):
        chosen = {s + int(o) for s in starts for o in grid.chosen.ravel()}
        marks = grid.frames_to_read(begin, end)
        assert [begin + int(i) for i in np.flatnonzero(marks)] == sorted(
            number for number in chosen if begin <= number < end
        )


def test_lengths_are_seconds_frames_or_a_clip() -> None:
    assert read_length("window", "2", 25.0, 10) == 50
    assert read_length("window", ".5s", 30.0, 10) == 15
    assert read_length("window", "16f", 30.0, 10) == 16
    assert read_length("step", "0.001", 30.0, 10) == 1
    assert Spacing("clip").in_frames(25.0, DENSE) == (10, 5)
    for text in ("0", "-1", "2x", "1.5f", "", "nan", "two"):
        with pytest.raises(UserError, match="is no length; give seconds above 0"):
            read_length("window", text, 25.0, 10)
    with pytest.raises(UserError, match="window=clip has no meaning here"):
        Spacing("clip").in_frames(25.0, SEGMENTS)
    with pytest.raises(UserError, match="step=3 is longer than window=2"):
        Spacing("2", "3").in_frames(25.0, DENSE)


def test_clips_too_long_for_a_window_are_spread_not_looped() -> None:
    fits = clips_of_window(DENSE, 10, 1, 25.0, None)
    assert fits.tolist() == [[0, 3, 6, 9]]
    spread = clips_of_window(DENSE, 8, 1, 25.0, None)
    assert spread.tolist() == [[1, 3, 5, 7]]
    looped = DENSE.test(8)
    assert looped.tolist() == [[0, 3, 6, 1]]
    around_flow = clips_of_window(DENSE, 16, 2, 25.0, 4)
    assert around_flow.min() >= 2
    assert around_flow.max() <= 13


def item_of(path: Path, spec: InputSpec, clips: int, crops: int, flow: FlowSpec | None) -> Views:
    """The views that a test has of a whole video."""
    names = PackedStrings([str(path)])
    table = VideoTable(names, names, np.zeros(1, np.int64), np.arange(1))
    source = None if flow is None else ComputedFlow(Here(), flow)
    dataset = VideoDataset(
        table,
        Path(),
        spec,
        train=False,
        num_clips=clips,
        num_crops=crops,
        flow=source,  # type: ignore[arg-type]
    )
    return dataset[0]


@pytest.mark.parametrize("sampler", [DENSE, SEGMENTS], ids=["dense", "segments"])
@pytest.mark.parametrize(("clips", "crops"), [(1, 1), (2, 3), (1, 10)])
@pytest.mark.parametrize("with_flow", [False, True], ids=["frames", "flow"])
def test_one_window_over_all_is_the_view_of_a_test(
    video: Path, sampler: FrameSampler, clips: int, crops: int, with_flow: bool
) -> None:
    flow = FlowSpec(4, "dis", 20.0, 32) if with_flow else None
    spec = InputSpec(sampler, CROPS, flow=flow)
    expected = item_of(video, spec, clips, crops, flow)
    with FileFrames(video) as source:
        grid = WindowGrid.of(
            sampler,
            (60, 60),
            num_frames=60,
            frame_rate=25.0,
            num_clips=clips,
            flow_length=None if flow is None else 4,
        )
        (window,) = slide(source, grid, WindowViews(CROPS, crops, flow))  # type: ignore[arg-type]
    assert window.views.keys() == {"clips", "flow"} if with_flow else {"clips"}
    assert torch.equal(window.views["clips"], expected["clips"])
    if with_flow:
        assert torch.equal(window.views["flow"], expected["flow"])


def windows_of(source: FileFrames | TensorFrames | LiveFrames, flow: bool) -> list[Window]:
    spec = FlowSpec(4, "dis", 20.0, 32) if flow else None
    grid = WindowGrid.of(
        DENSE,
        (16, 6),
        num_frames=source.num_frames,
        frame_rate=25.0,
        flow_length=4 if flow else None,
    )
    return list(slide(source, grid, WindowViews(CROPS, 1, spec)))


def pixels_of(path: Path) -> Tensor:
    frames, _ = whole(path)
    return torch.from_numpy(np.stack([frames[i] for i in range(len(frames))]))


@pytest.mark.parametrize("flow", [False, True], ids=["frames", "flow"])
def test_windows_hold_what_their_own_frames_alone_give(video: Path, flow: bool) -> None:
    with FileFrames(video) as source:
        windows = windows_of(source, flow)
    assert [w.start for w in windows] == [0, 6, 12, 18, 24, 30, 36, 42, 44]
    frames = pixels_of(video)
    for window in windows:
        part = TensorFrames(frames[window.start : window.start + 16], 25.0)
        (alone,) = windows_of(part, flow)
        assert torch.equal(window.views["clips"], alone.views["clips"])
        if flow:
            assert torch.equal(window.views["flow"], alone.views["flow"])
        np.testing.assert_allclose(window.times, (window.start + np.arange(17)) / 25, atol=1e-9)


def test_live_windows_are_those_of_the_file(video: Path) -> None:
    with FileFrames(video) as file, LiveFrames(str(video)) as live:
        ours, theirs = windows_of(live, False), windows_of(file, False)
    assert [w.start for w in ours] == [0, 6, 12, 18, 24, 30, 36, 42]  # it did not know the end
    for one, other in zip(ours, theirs, strict=False):
        assert torch.equal(one.views["clips"], other.views["clips"])
        np.testing.assert_allclose(one.times, other.times, atol=1e-6)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Time stamps of the frames that come out of decoders of files."""
    seen: list[int] = []
    decode = PacketStream.decode

    def counted(self: PacketStream, *args: object) -> list[av.VideoFrame]:
        frames: list[av.VideoFrame] = decode(self, *args)  # type: ignore[arg-type]
        seen.extend(frame.pts for frame in frames)
        return frames

    monkeypatch.setattr(PacketStream, "decode", counted)
    return iter([seen])


@pytest.mark.parametrize("flow", [False, True], ids=["frames", "flow"])
def test_every_frame_is_decoded_at_most_once(
    video: Path, decoded: Iterator[list[int]], flow: bool
) -> None:
    with FileFrames(video) as source:
        seen = next(decoded)
        seen.clear()  # the index looked at the first frame
        windows_of(source, flow)
    assert len(seen) == len(set(seen)) <= 60
    assert len(seen) > 30


def frames_of_ffmpeg(path: Path, rate: int) -> list[Pixels]:
    """What FFmpeg's own filter makes of a video."""
    graph, found = av.filter.Graph(), []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        links = [graph.add_buffer(template=stream), graph.add("fps", f"fps={rate}")]
        graph.link_nodes(*links, graph.add("buffersink")).configure()
        for frame in [*container.decode(stream), None]:
            graph.push(frame)
        while True:
            try:
                found.append(graph.pull().to_ndarray(format="rgb24"))
            except av.error.EOFError:
                return found


VARIABLE = [0, 2, 3, 7, 8, 9, 14, 15, 22, 23, 24, 31, 40, 41, 55]


@pytest.mark.parametrize("times", [VARIABLE, list(range(31))], ids=["variable", "constant"])
@pytest.mark.parametrize("rate", [10, 30, 60])
def test_frames_of_another_rate_are_those_of_ffmpeg(
    tmp_path: Path, times: list[int], rate: int
) -> None:
    path = write(tmp_path / "a.mkv", "ffv1", scene(len(times)), pix_fmt="bgr0", times=times)
    theirs = frames_of_ffmpeg(path, rate)
    with FileFrames(path, float(rate)) as source:
        ours = list(source.frames(everything))
    if times != VARIABLE:  # how long the last frame is shown is a matter of opinion there
        assert len(ours) == len(theirs) == round(31 / 25 * rate)
    for frame, pixels in zip(ours, theirs, strict=False):
        assert frame.pixels is not None
        assert np.array_equal(frame.pixels.permute(1, 2, 0).numpy(), pixels)
    with LiveFrames(str(path), float(rate)) as live:
        for frame, other in zip(live.frames(everything), ours, strict=False):
            assert frame.pixels is not None
            assert other.pixels is not None
            assert torch.equal(frame.pixels, other.pixels)
            assert frame.time == pytest.approx(other.time - ours[0].time)


@pytest.mark.parametrize(("own", "rate"), [(25, 30), (30, 25), (29.97, 25), (25, 25), (60, 30)])
def test_resampled_length_is_seconds_times_rate(own: float, rate: float) -> None:
    for count in (1, 16, 100, 750):
        chosen = frames_at_rate(np.arange(count) / own, own, rate)
        assert len(chosen) == max(1, int(count / own * rate + 0.5 + 1e-6))
        assert chosen.min() >= 0
        assert chosen.max() < count
        assert (np.diff(chosen) >= 0).all()


def test_pipe_is_read_as_it_comes(video: Path) -> None:
    stream = io.BytesIO()
    with av.open(str(video)) as source, av.open(stream, "w", format="mpegts") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    read, write_end = os.pipe()

    def feed() -> None:
        with os.fdopen(write_end, "wb") as file:
            file.write(stream.getvalue())

    sender = threading.Thread(target=feed)
    sender.start()
    with os.fdopen(read, "rb") as file, LiveFrames(file) as live:
        frames = list(live.frames(everything))
    sender.join()
    assert len(frames) == 60
    expected = pixels_of(video)
    for frame in frames:
        assert frame.pixels is not None
        assert torch.equal(frame.pixels.permute(1, 2, 0), expected[frame.number])
    assert frames[-1].time == pytest.approx(59 / 25)


def test_filter_goes_on_without_end() -> None:
    with LiveFrames("lavfi:testsrc2=size=64x48:rate=10") as live:
        assert (live.frame_rate, live.num_frames) == (10.0, None)
        frames = live.frames(lambda begin, end: np.array([begin % 2 == 0]))
        first = [next(frames) for _ in range(30)]
    assert [frame.pixels is not None for frame in first[:4]] == [True, False, True, False]
    assert first[29].time == pytest.approx(2.9)


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("no/such/file.mp4", VideoError, "cannot be opened"),
        ("lavfi:no_such_filter", VideoError, "cannot be opened"),
        ("camera:x", UserError, "is no camera that can be opened here"),
        ("lavfi:sine=440", VideoError, "it holds no pictures"),
    ],
)
def test_source_that_is_none_is_told(address: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        LiveFrames(address)


def test_frames_in_memory_are_checked() -> None:
    with pytest.raises(UserError, match="give RGB frames of shape"):
        TensorFrames(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), 25.0)
    with pytest.raises(UserError, match=r"and type torch\.float32"):
        TensorFrames(torch.zeros(4, 8, 8, 3), 25.0)
    with pytest.raises(UserError, match="frames per second above 0"):
        TensorFrames(torch.zeros(4, 8, 8, 3, dtype=torch.uint8), 0.0)


def test_written_video_shows_each_frame_at_its_time(tmp_path: Path) -> None:
    frames, path = scene(5, 33, 47), tmp_path / "out.mp4"
    times = [0.0, 0.04, 0.3, 0.31, 1.0]
    with VideoWriter(path, 25.0) as writer:
        for frame, time in zip(frames, times, strict=True):
            writer.write(frame, time)
    read, shown = whole(path)
    assert shown == pytest.approx(times, abs=1e-4)
    assert read[0].shape == (32, 46, 3)
    off = np.abs(read[4].astype(int) - frames[4][:32, :46]).mean()
    assert off < 12  # of 255


def test_folder_of_images_needs_a_rate(tmp_path: Path) -> None:
    for i, frame in enumerate(scene(6, 16, 16)):
        Image.fromarray(frame).save(tmp_path / f"{i:04d}.png")
    with pytest.raises(VideoError, match="no times"):
        FileFrames(tmp_path)
    with FileFrames(tmp_path, 10.0) as source:
        assert [frame.time for frame in source.frames(everything)] == pytest.approx(
            np.arange(6) / 10
        )
