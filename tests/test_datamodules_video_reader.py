"""`VideoReader` against decoding the whole file: real clips and generated ones."""

import gc
import os
import pickle
import random
import resource
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from video_files import Counter, assert_equal, assert_exact, cut, remux, scene, whole, write

from datamodules.video import reader
from datamodules.video.errors import VideoError
from datamodules.video.frame_folder import FrameFolderReader
from datamodules.video.indices import building
from datamodules.video.indices import cache as index_cache
from datamodules.video.indices.packets import PacketLog
from datamodules.video.reader import VideoReader, open_video
from datamodules.video.segment import VideoSegment

LARGE = 6_000_000  # pixels of a clip above which only some of its frames are compared


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    index_cache.recent.clear()


SLOW = {"codecs/cockatoo.mp4", "codecs/cfr.mov", "rotated/issue-134-rotate.mp4"}  # 160 megapixels


def real_clips() -> list[Any]:
    root = Path(os.environ.get("KINETOSCOPE_TEST_DATA", "../shared/data")) / "clips"
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    return [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in names]


@pytest.mark.smoke
@pytest.mark.parametrize("name", real_clips())
def test_real_clip_equals_plain_decoding(test_data: Path, name: str) -> None:
    path, chooser = test_data / "clips" / name, random.Random(name)
    with VideoReader(path) as reader:
        count = reader.num_frames
        is_large = count * reader.height * reader.width > LARGE
        wanted = chooser.sample(range(count), min(count, 12) if is_large else count)
        truth, times = whole(path, set(wanted))
        assert count == len(times)
        assert (reader.height, reader.width) == truth[wanted[0]].shape[:2]
        assert_equal(reader, wanted + wanted[:2], truth)
    with VideoReader(path) as fresh:
        assert_equal(fresh, sorted(chooser.sample(wanted, min(len(wanted), 6))), truth)
    with VideoReader(path) as together:
        clips = [chooser.choices(wanted, k=5) for _ in range(3)]
        changes = [None, lambda frames: frames[..., ::2, :], lambda frames: frames[..., 1:]]
        found = together.get_clips(list(zip(clips, changes, strict=True)))
        for numbers, change, frames in zip(clips, changes, found, strict=True):
            expected = torch.stack(
                [torch.tensor(truth[n].copy()).permute(2, 0, 1) for n in numbers]
            )
            assert torch.equal(frames, expected if change is None else change(expected))
    if times == sorted(times):
        np.testing.assert_array_equal(reader.timestamps, times)
    assert np.all(np.diff(reader.timestamps) > 0)


OPEN_GOP = {"x264-params": "keyint=12:open-gop=1:bframes=3:scenecut=0"}
X265 = "log-level=0:pools=1:keyint=12:min-keyint=12:scenecut=0"
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "basic.mp4": ("libx264", {"options": {"g": "12"}}),
    "basic.mkv": ("libx264", {"options": {"g": "12"}}),
    "basic.ts": ("libx264", {"options": {"g": "12"}}),
    "basic.flv": ("libx264", {"options": {"g": "12"}}),
    "reordered.avi": ("libx264", {"options": {"g": "12"}}),  # time stamps of decoding
    "raw.h264": ("libx264", {"options": {"g": "12"}}),  # no time stamps
    "pyramid.mp4": ("libx264", {"options": {"x264-params": "bframes=8:b-pyramid=normal:ref=6"}}),
    "open_gop.mp4": ("libx264", {"options": OPEN_GOP}),
    "open_gop.ts": ("libx264", {"options": OPEN_GOP}),
    "refresh.mp4": ("libx264", {"options": {"x264-params": "keyint=12:intra-refresh=1:bframes=0"}}),
    "interlaced.ts": ("libx264", {"options": {"g": "12", "x264-params": "tff=1"}}),
    "fragmented.mp4": ("libx264", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
    "ten_bit.mkv": ("libx264", {"pix_fmt": "yuv420p10le"}),
    "open_hevc.mkv": ("libx265", {"options": {"x265-params": f"{X265}:open-gop=1:bframes=4"}}),
    "layers.mp4": ("libx265", {"options": {"x265-params": f"{X265}:temporal-layers=3"}}),
    "hidden.webm": ("libvpx-vp9", {"options": {"g": "20", "lag-in-frames": "16", "cpu-used": "8"}}),
    "vp8.webm": ("libvpx", {"options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "av1.mp4": ("libsvtav1", {"options": {"g": "20", "preset": "12"}}),
    "plain.avi": ("mpeg4", {"options": {"g": "12"}}),
    "bidirectional.avi": ("mpeg4", {"options": {"g": "12", "bf": "2"}}),
    "mpeg2.ts": ("mpeg2video", {"options": {"g": "12", "bf": "2"}}),
    "mpeg2.mpg": ("mpeg2video", {"options": {"g": "12", "bf": "2"}}),
    "photos.avi": ("mjpeg", {"pix_fmt": "yuvj420p"}),
    "spark.flv": ("flv", {"options": {"g": "12"}}),
    "windows.wmv": ("wmv2", {"options": {"g": "12"}}),
    "animation.gif": ("gif", {"pix_fmt": "rgb8", "time_base": Fraction(1, 100)}),
}


@pytest.mark.smoke
@pytest.mark.parametrize("name", KINDS)
def test_generated_kind_equals_plain_decoding(tmp_path: Path, name: str) -> None:
    codec, settings = KINDS[name]
    times = [4 * t for t in range(40)] if name.endswith(".gif") else None
    path = write(tmp_path / name, codec, scene(40), times=times, **settings)
    reader = assert_exact(path)
    assert reader.num_frames == 40
    np.testing.assert_allclose(np.diff(reader.timestamps), 0.04, atol=1e-3)
    assert reader.frame_rate == pytest.approx(25, rel=1e-2)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "name"),
    [("libx264rgb", "rgb24", "lossless.mp4"), ("ffv1", "bgr0", "lossless.mkv")],
)
def test_lossless_clip_equals_the_tensor_written(
    tmp_path: Path, codec: str, pix_fmt: str, name: str
) -> None:
    frames = np.random.default_rng(1).integers(0, 255, (12, 30, 46, 3), dtype=np.uint8)
    options = {"qp": "0", "g": "5"} if codec == "libx264rgb" else {}
    path = write(tmp_path / name, codec, frames, pix_fmt=pix_fmt, options=options)
    with VideoReader(path) as reader:
        got = reader.get_frames([11, 3, 3, 0])
    expected = torch.from_numpy(frames).permute(0, 3, 1, 2)[[11, 3, 3, 0]]
    assert torch.equal(got, expected)


def test_packets_without_true_times_still_give_true_order(tmp_path: Path) -> None:
    def stamp_in_decoding_order(number: int, packet: Any) -> bool:
        packet.pts = packet.dts = number * 512
        return True

    source = write(tmp_path / "good.mp4", "libx264", scene(40), options={"g": "12"})
    assert_exact(remux(source, tmp_path / "wrong.mp4", stamp_in_decoding_order))


@pytest.mark.parametrize(
    ("sizes", "times", "expected"),
    [
        ([900, 1, 80, 8, 70], [1, 4, 3, 5], [1, 3, 2, 4]),  # as Xvid packs pictures
        ([900, 1, 1, 80, 70], [0, 3, 4], [0, 1, 2]),
        ([900, 80, 1, 70], [0, 1, 3], [0, 1, 3]),  # a frame that was dropped leaves a true gap
        ([1, 900, 80], [1, 2], [1, 2]),
        ([900], [0], [0]),
    ],
)
def test_lag_of_an_encoder_is_no_gap(
    sizes: list[int], times: list[int], expected: list[int]
) -> None:
    log = PacketLog()
    for number, size in enumerate(sizes):
        packet = av.Packet(bytes(size))
        packet.pts = packet.dts = number
        log.add(packet)
    assert building._without_lag(log.headers(), np.array(times)).tolist() == expected


def test_times_of_packed_pictures_have_no_gap(test_data: Path) -> None:
    (path,) = (test_data / "clips" / "hmdb51").glob("*.avi")
    with VideoReader(path) as reader:
        np.testing.assert_allclose(np.diff(reader.timestamps), 1 / 30)


def test_stream_cut_before_its_first_key_frame_equals_plain_decoding(tmp_path: Path) -> None:
    source = write(tmp_path / "good.mp4", "libx264", scene(40), options={"g": "12"})
    path = remux(source, tmp_path / "cut.mkv", lambda number, _: number >= 5)
    assert assert_exact(path).num_frames < 36


@pytest.mark.parametrize(("sides", "chosen"), [((32, 64), 1), ((64, 32), 0), ((64, 64), 0)])
def test_largest_of_several_streams_is_read(
    tmp_path: Path, sides: tuple[int, int], chosen: int
) -> None:
    path = tmp_path / "several.mkv"
    pictures = [scene(12 + number, side, side) for number, side in enumerate(sides)]
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("ffv1", rate=25) for _ in sides]
        for stream, side in zip(streams, sides, strict=True):
            stream.width = stream.height = side
            stream.pix_fmt = "bgr0"
        for stream, frames in zip(streams, pictures, strict=True):
            for pixels in frames:
                picture = np.ascontiguousarray(pixels)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode())
    with VideoReader(path) as reader:
        assert reader.num_frames == 12 + chosen
        got = reader.get_frames([7])[0].permute(1, 2, 0)
    assert np.array_equal(got, pictures[chosen][7])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate_keeps_each_time(tmp_path: Path, suffix: str) -> None:
    times = [1000 + 40 * t + 3 * (t % 4) + 500 * (t > 20) for t in range(40)]
    path = tmp_path / f"variable.{suffix}"
    write(path, "libx264", scene(40), times=times, time_base=Fraction(1, 1000))
    reader = assert_exact(path)
    np.testing.assert_allclose(reader.timestamps, np.array(times) / 1000, atol=1e-3)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_turns_frames_upright(tmp_path: Path, rotation: int) -> None:
    frames = scene(4, 48, 64)
    write(tmp_path / "flat.mp4", "libx264", frames)
    write(tmp_path / "turned.mp4", "libx264", frames, rotation=rotation)
    with VideoReader(tmp_path / "flat.mp4") as flat, VideoReader(tmp_path / "turned.mp4") as turned:
        expected = torch.rot90(flat.get_frames([2]), rotation // 90, (2, 3))
        assert torch.equal(turned.get_frames([2]), expected)
        assert (turned.height, turned.width) == tuple(expected.shape[2:])


@pytest.mark.parametrize("count", [1, 2])
def test_short_clip_is_read(tmp_path: Path, count: int) -> None:
    assert_exact(write(tmp_path / "short.mp4", "libx264", scene(count)))


def test_indices_outside_name_the_range(tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / "a.mp4", "libx264", scene(4))) as reader:
        for index in (4, -1):
            with pytest.raises(IndexError, match=f"frames 0 to 3, got {index}"):
                reader.get_frames([0, index])
        assert reader.get_frames([]).shape == (0, 3, 64, 64)
        assert torch.equal(reader.get_frames(np.array([2])), reader.get_frames([2]))


def test_unreferenced_frames_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"x264-params": "keyint=100:bframes=3:b-adapt=0:b-pyramid=none:scenecut=0"}
    path = write(tmp_path / "a.mp4", "libx264", scene(80), options=options)
    with VideoReader(path) as reader:
        counter = Counter(monkeypatch)
        reader.get_frames([20, 40, 60])
    assert counter.packets > 55
    assert counter.frames < 25  # 60 were needed if none could be left out


def test_groups_without_wanted_frames_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(300), options={"g": "10", "bf": "0"})
    with VideoReader(path) as reader:
        counter = Counter(monkeypatch)
        reader.get_frames([5, 155, 295])
    assert counter.packets <= 18


def test_reading_on_decodes_each_frame_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(96), options={"g": "200"})
    with VideoReader(path) as reader:
        counter = Counter(monkeypatch)
        for start in range(0, 96, 8):
            reader.get_frames(range(start, start + 8))
    assert counter.packets <= 96 + 12  # the second call begins again, the others go on


def test_clips_of_one_call_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after another, each of the clips but the first would begin at the key frame again."""
    path = write(tmp_path / "a.mp4", "libx264", scene(96), options={"g": "200"})
    clips = [range(30, 60, 4), range(20, 50, 4), range(10, 62, 7)]
    with VideoReader(path) as reader:
        apart = [reader.get_frames(clip) for clip in clips]
    with VideoReader(path) as reader:
        counter = Counter(monkeypatch)
        found = reader.get_clips([(clip, None) for clip in clips])
        assert reader.get_clips([([], None), ([3], None)])[0].shape == (0, *found[0].shape[1:])
    assert all(map(torch.equal, found, apart))
    assert counter.packets <= 62 + 12 + 16  # and the last call begins again


def test_wrong_index_is_noticed_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(40), options={"g": "12"})
    settle = building._order_of_showing

    def swapped(*args: Any) -> Any:
        order = settle(*args)
        assert order is not None
        order[[7, 8]] = order[[8, 7]]
        return order

    monkeypatch.setattr(building, "_order_of_showing", swapped)
    truth, _ = whole(path)
    with VideoReader(path) as reader:
        assert_equal(reader, [8, 7, 30], truth)


def _surveys(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of the files that are surveyed from now on."""
    seen: list[Path] = []
    survey = building.survey

    def noted(path: Path) -> Any:
        seen.append(path)
        return survey(path)

    monkeypatch.setattr(building, "survey", noted)
    monkeypatch.setattr(reader, "survey", noted)
    return seen


def test_survey_is_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mpg", "mpeg2video", scene(20), options={"bf": "2"})
    surveys = _surveys(monkeypatch)
    for _ in range(3):
        index_cache.recent.clear()  # as in another process
        assert_exact(path)
    assert len(surveys) == 1
    stored = next((tmp_path / "cache").rglob("*.note"))
    stored.write_bytes(stored.read_bytes()[:100])
    index_cache.recent.clear()
    assert_exact(path)
    assert len(surveys) == 2
    write(path, "mpeg2video", scene(24), options={"bf": "2"})  # another file at the same place
    assert assert_exact(path).num_frames == 24
    assert len(surveys) == 3


def test_cache_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "file"))
    assert_exact(write(tmp_path / "a.mpg", "mpeg2video", scene(8), options={"bf": "2"}))


def test_cached_index_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(8))
    VideoReader(path).close()
    monkeypatch.setattr(reader, "build_index", None)
    assert_exact(path)


def test_index_cache_is_bounded(tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / "a.mp4", "libx264", scene(8))) as reader:
        index = reader._index
    cache = index_cache.IndexCache(max_bytes=3 * index.nbytes)
    for name in "abcda":
        cache.put(name, index)
    assert cache.nbytes == 3 * index.nbytes
    assert cache.get("b") is None
    assert cache.get("a") is index


def test_many_readers_leak_nothing(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "a.mp4", "libx264", scene(12, 128, 128)),
        write(tmp_path / "b.mpg", "mpeg2video", scene(12, 128, 128), options={"bf": "2"}),
        cut(write(tmp_path / "c.mkv", "libx264", scene(30)), 0.5),
    ]

    def read_all(times: int) -> None:
        for _ in range(times):
            for path in paths:
                try:
                    with VideoReader(path) as reader:
                        reader.get_frames([7, 2])
                except VideoError:
                    continue

    read_all(30)
    gc.collect()  # of earlier tests
    files = len(os.listdir("/proc/self/fd"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_all(150)
    assert len(os.listdir("/proc/self/fd")) <= files
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 8_000  # kB


class Clips(torch.utils.data.Dataset[torch.Tensor]):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        with VideoReader(self.path) as reader:
            return reader.get_frames([index, 2 * index])


@pytest.mark.smoke
def test_readers_work_in_dataloader_workers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", "mpeg4", scene(20), options={"bf": "2"})
    truth, _ = whole(path)
    loader = DataLoader(Clips(path), batch_size=None, num_workers=2)
    for index, clip in enumerate(loader):
        assert np.array_equal(clip[1].permute(1, 2, 0).numpy(), truth[2 * index])


def test_pickled_reader_opens_its_file_again(tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / "a.mp4", "libx264", scene(8))) as reader:
        copy = pickle.loads(pickle.dumps(reader))
        assert torch.equal(copy.get_frames([5]), reader.get_frames([5]))
        copy.close()


def test_closed_reader_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(8))
    with VideoReader(path) as reader:
        reader.get_frames([5])
    with pytest.raises(ValueError, match=f"the reader of {path} is closed; get the frames inside"):
        reader.get_frames([5])
    with VideoSegment(path, 0.0, 0.2) as segment:
        segment.get_frames([0])
    with pytest.raises(ValueError, match="is closed"):
        segment.get_frames([0])


def test_open_video_takes_files_and_folders(test_data: Path) -> None:
    images = test_data / "weizmann_4" / "frames" / "bend_person0"
    with open_video(images, frame_rate=12.5) as folder:
        assert isinstance(folder, FrameFolderReader)
        assert folder.num_frames == len(list(images.iterdir())) > 2
        assert folder.timestamps[:3].tolist() == pytest.approx([0, 0.08, 0.16])
        first = Image.open(sorted(images.iterdir())[0]).convert("RGB")
        assert np.array_equal(folder.get_frames([0])[0].permute(1, 2, 0).numpy(), first)
    clip = test_data / "clips" / "timing" / "realshort.mp4"
    with open_video(clip, frame_rate=1.0) as file, VideoReader(clip) as plain:
        assert isinstance(file, VideoReader)
        assert str(file.source) == str(clip)
        assert np.array_equal(file.timestamps, plain.timestamps)  # a file knows its own rate
        assert torch.equal(file.get_frames([0, 1]), plain.get_frames([0, 1]))
