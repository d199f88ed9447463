"""What `VideoReader` says of damaged, truncated, oversized and wrong files."""

import pickle
import random
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import Counter, assert_equal, assert_exact, cut, scene, whole, write

from datamodules.video import stream
from datamodules.video.errors import VideoError
from datamodules.video.indices import cache as index_cache
from datamodules.video.reader import VideoReader

# Reason of the verdict, or the number of frames that can be read.
VERDICTS: dict[str, str | int] = {
    "FlashVideo.flv": "no frames",  # header and metadata alone
    "Mpeg4.mp4": "no video stream",  # a movie box without tracks
    "audio_only.mp4": "no video stream",
    "bipbop_nonfragment_header.mp4": "truncated",  # the samples its header lists are not there
    "bit_flips.mp4": "damaged",
    "chunk_out_of_range.mp4": "damaged",
    "empty.mp4": "empty file",
    "no_timescale.mp4": "damaged",
    "truncated_half.mp4": "truncated",  # index at the end, so nothing can be read
    "truncated_half_faststart.mp4": "truncated",  # 155 of 332 frames decode without any error
    "video_with_failing_audio.mp4": 280,  # nothing wrong with its pictures
    "web_page.mp4": "not a video",
    "webm.webm": 1,
    "zero_empty_stsc.mp4": "truncated",
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    index_cache.recent.clear()


@pytest.mark.parametrize("name", VERDICTS)
def test_damaged_file_has_its_verdict(test_data: Path, name: str) -> None:
    path, verdict = test_data / "damaged" / name, VERDICTS[name]
    if isinstance(verdict, int):
        truth, _ = whole(path)
        with VideoReader(path) as reader:
            assert reader.num_frames == verdict
            assert_equal(reader, list(range(verdict)), truth)
        return
    with pytest.raises(VideoError) as caught:
        VideoReader(path).get_frames(range(10**6))
    assert caught.value.reason == verdict
    assert name in str(caught.value)


def test_every_damaged_file_is_in_the_table(test_data: Path) -> None:
    assert {path.name for path in (test_data / "damaged").iterdir()} == VERDICTS.keys()


@pytest.mark.parametrize("name", ["front.mp4", "end.mp4", "a.avi", "a.mkv", "a.webm"])
def test_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4"}.get(name, "libx264")
    container = {"movflags": "faststart"} if name == "front.mp4" else {}
    path = write(tmp_path / name, codec, scene(60), container=container, options={"g": "10"})
    VideoReader(path).close()
    with pytest.raises(VideoError) as caught:
        VideoReader(cut(path, 0.6))
    assert caught.value.reason == "truncated"


def test_promise_of_more_frames_than_there_are_is_no_fault(tmp_path: Path) -> None:
    times = [t + 3 * (t > 10) for t in range(30)]  # AVI counts the three dropped frames too
    path = write(tmp_path / "gap.avi", "mpeg4", scene(30), times=times)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 33
    assert assert_exact(path).num_frames == 30


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.ts", "a.webm"])
def test_flipped_bits_never_give_wrong_frames(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4"}.get(name, "libx264")
    path = write(tmp_path / name, codec, scene(40), options={"g": "10"})
    data, verdicts = path.read_bytes(), []
    for seed in range(6):
        chooser, flipped = random.Random(seed), bytearray(data)
        for _ in range(4):
            flipped[chooser.randrange(len(data) // 4, len(data))] ^= 1 << chooser.randrange(8)
        path = tmp_path / f"{seed}{name}"
        path.write_bytes(flipped)
        try:
            with VideoReader(path) as reader:
                got = reader.get_frames(range(reader.num_frames))
        except VideoError as error:
            verdicts.append(error.reason)
            continue
        truth, _ = whole(path)  # raises if the file should have been refused
        assert len(truth) == len(got)
        assert all(np.array_equal(got[i].permute(1, 2, 0).numpy(), truth[i]) for i in truth)
    told = {"damaged", "truncated", "no decoder", "no video stream", "no frames"}
    assert set(verdicts) <= told


def test_frames_of_several_sizes_are_refused(tmp_path: Path) -> None:
    large = write(tmp_path / "large.ts", "libx264", scene(10))
    small = write(tmp_path / "small.ts", "libx264", scene(10, 32, 32))
    path = tmp_path / "both.ts"
    path.write_bytes(large.read_bytes() + small.read_bytes())
    with pytest.raises(VideoError, match="changing size: frame 10 is 32x32"):
        VideoReader(path)


def test_too_large_frames_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp4", "libx264", scene(2))
    monkeypatch.setattr(stream, "MAX_PIXELS", 64 * 64 - 1)
    counter = Counter(monkeypatch)
    with pytest.raises(VideoError, match="too large: 64x64"):
        VideoReader(path)
    assert counter.packets == 0


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text("#EXTM3U\n/etc/passwd\n")
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "empty.mp4").touch()
    reasons = {
        "list.mp4": "not a video",
        "text.mp4": "not a video",
        "empty.mp4": "empty file",
        "nowhere.mp4": "missing",
        ".": "not a file",
    }
    for name, reason in reasons.items():
        with pytest.raises(VideoError) as caught:
            VideoReader(tmp_path / name)
        assert caught.value.reason == reason
    assert pickle.loads(pickle.dumps(caught.value)).reason == "not a file"
