"""Videos with holes, and videos shorter than their header says: none passes as a shorter one."""

import random
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import assert_exact, remux, scene, write

from datamodules.health.decode_check import Part, decode_part
from datamodules.video.errors import VideoError
from datamodules.video.indices import cache as index_cache
from datamodules.video.reader import VideoReader

KINDS = {
    "groups.webm": ("libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    "one_group.webm": ("libvpx-vp9", {"g": "99", "deadline": "realtime", "cpu-used": "8"}),
    "surveyed.webm": ("libvpx", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    "a.mkv": ("libx264", {"g": "12"}),
    "plain.avi": ("mpeg4", {"g": "12"}),
    "reordered.avi": ("mpeg4", {"g": "12", "bf": "2"}),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETOSCOPE_CACHE", str(tmp_path / "cache"))
    index_cache.recent.clear()


def frame_data(path: Path) -> list[tuple[int, int]]:
    """Begin and end of each packet of the pictures in the file."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size and p.pos is not None]
        return [(p.pos or 0, (p.pos or 0) + p.size) for p in packets]


def verdict(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        VideoReader(path)
    assert decode_part(Part(str(path))).verdict == caught.value.reason
    return f"{caught.value.reason}: {caught.value.detail}"


@pytest.mark.parametrize("content", ["zeros", "noise"])
@pytest.mark.parametrize("name", KINDS)
def test_hole_anywhere_is_no_shorter_video(tmp_path: Path, name: str, content: str) -> None:
    codec, options = KINDS[name]
    path = write(tmp_path / name, codec, scene(47), options=options)
    VideoReader(path).close()
    data, places = path.read_bytes(), frame_data(path)
    chooser = random.Random(name)
    for first, last in ((5, 9), (20, 40), (30, 46)):  # from within a packet into another
        start, end = sum(places[first]) // 2, sum(places[last]) // 2
        filling = bytes(end - start) if content == "zeros" else chooser.randbytes(end - start)
        path.write_bytes(data[:start] + filling + data[end:])
        assert verdict(path).startswith("incomplete: ")


def test_video_that_ends_before_its_header_says_is_incomplete(tmp_path: Path) -> None:
    path = write(tmp_path / "a.webm", "libvpx-vp9", scene(50), options=KINDS["a.mkv"][1])
    good = path.read_bytes()
    with av.open(str(path)) as container:
        assert container.duration == 2_000_000
    at = good.index(b"\x44\x89\x88") + 3  # Duration, eight bytes
    tag = good.index(b"00:00:02.000000000")
    said = {2: None, 2.1: None, 2.13: "incomplete", 4: "incomplete"}  # 5 % or 3 frames: 0.12 s
    for seconds, expected in said.items():
        data = bytearray(good)
        struct.pack_into(">d", data, at, 1000.0 * seconds)
        data[tag : tag + 18] = f"00:00:{seconds:012.9f}".encode()
        path.write_bytes(data)
        index_cache.recent.clear()
        if expected is None:
            VideoReader(path).close()
            continue
        assert verdict(path) == (
            f"incomplete: its 50 frames end at 2.00 s of the {seconds:.2f} s that its header "
            "declares"
        )


def test_avi_without_its_list_is_measured_by_its_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", "mpeg4", scene(60), options={"g": "12"})
    good, places = path.read_bytes(), frame_data(path)
    listed = good.rindex(b"idx1")
    path.write_bytes(good[:listed] + bytes(len(good) - listed))
    assert assert_exact(path).num_frames == 60
    path.write_bytes(good[: places[40][0]] + bytes(len(good) - places[40][0]))
    assert verdict(path).startswith("incomplete: its 4")


def test_mp4_cut_within_its_trailing_index_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:  # with sound, so that pictures come in many chunks
        stream = output.add_stream("mpeg4", rate=25)
        sound = output.add_stream("aac", rate=48_000)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(scene(50)):
            samples = np.zeros((1, 1920), np.float32)
            noise = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            noise.rate, noise.pts, noise.time_base = 48_000, 1920 * number, Fraction(1, 48_000)
            output.mux(sound.encode(noise))
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(sound.encode())
        output.mux(stream.encode())
    good = path.read_bytes()
    assert good.index(b"mdat") < good.index(b"moov")
    assert assert_exact(path).num_frames == 50
    index_cache.recent.clear()
    path.write_bytes(good[: good.index(b"stco") + 12 + 4 * 15])
    with av.open(str(path)) as container:  # looks whole
        (video,) = container.streams.video
        held = sum(packet.size > 0 for packet in container.demux(video))
        assert (video.frames, held) == (50, len(video.index_entries))
        assert held < 40
    assert verdict(path) == f"truncated: it ends early, with {held} of 50 packets"


def test_times_with_gaps_are_no_fault(tmp_path: Path) -> None:
    def slow(number: int, packet: av.Packet) -> bool:
        packet.pts = packet.dts = 40 * number + 2000 * (number > 20)
        packet.duration = 40
        return number not in (30, 31)

    options = {"g": "12", "bf": "0"}
    source = write(tmp_path / "a.mkv", "mpeg4", scene(40), options=options)
    assert assert_exact(remux(source, tmp_path / "slow.mkv", slow)).num_frames == 38


def test_clusters_of_unknown_length_can_be_followed(tmp_path: Path) -> None:
    times = [40 * t + 2000 * (t > 20) for t in range(40)]
    path = tmp_path / "a.mkv"
    write(path, "mpeg4", scene(40), times=times, time_base=Fraction(1, 1000))
    data, places = bytearray(path.read_bytes()), frame_data(path)
    for at in (i for i in range(len(data)) if data[i : i + 4] == b"\x1f\x43\xb6\x75"):
        width = 9 - data[at + 4].bit_length()
        data[at + 4 : at + 4 + width] = ((1 << 7 * width + 1) - 1).to_bytes(width, "big")
    path.write_bytes(data)  # as it is written live
    assert assert_exact(path).num_frames == 40
    start, end = places[10][0] + 5, places[14][0] + 5
    path.write_bytes(data[:start] + bytes(end - start) + data[end:])
    assert verdict(path).startswith("incomplete: it is torn at byte ")
