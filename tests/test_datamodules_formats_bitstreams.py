"""What packets tell of their pictures without decoding: packed B-VOPs of MPEG-4, as in UCF101."""

import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import assert_exact, remux, scene, write

from datamodules.formats.mpeg4 import MPEG4Parser
from datamodules.storage.source import as_source
from datamodules.video.indices import building
from datamodules.video.indices.building import build_index, survey
from datamodules.video.indices.index import VideoIndex
from datamodules.video.indices.stored import StoredLog
from datamodules.video.stream import VideoStream

VOP = b"\0\0\1\xb6"
DIVX = b"\0\0\1\xb2DivX503b1393p"
PLACEHOLDER = VOP + b"\x50\x4f"  # a P-VOP that is not coded, at 25 frames a second
Packets = list[bytes]


def is_b(packet: bytes) -> bool:
    return packet[packet.index(VOP) + 4] >> 6 == 2


def pack(vops: Packets) -> Packets:
    """Store each first B-VOP with the picture before it, and a placeholder behind the last."""
    packed: Packets = []
    for number, vop in enumerate(vops):
        following = vops[number + 1 : number + 2]
        if following and is_b(following[0]):
            packed.append(following[0] if is_b(vop) else vop + following[0])
        else:
            packed.append(PLACEHOLDER if is_b(vop) else vop)
    return packed


def packed_avi(folder: Path, change: Callable[[Packets], Packets] = list) -> Path:
    """Write an AVI of 40 frames as Xvid does, but for a change of its packets."""
    source = write(folder / "a.avi", "mpeg4", scene(40), options={"bf": "2", "g": "15"})
    with av.open(str(source)) as given, av.open(str(folder / "b.avi"), "w") as output:
        vops = [bytes(packet) for packet in given.demux(video=0) if packet.size]
        marked = [re.sub(b"\0\0\1\xb3", DIVX + b"\0\0\1\xb3", vop, count=1) for vop in vops]
        stream = output.add_stream_from_template(given.streams.video[0])
        for number, content in enumerate(change(pack(marked))):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.is_keyframe = content[content.index(VOP) + 4] >> 6 == 0
            output.mux(packet)
    return folder / "b.avi"


def assert_indexed_as_surveyed(path: Path) -> VideoIndex:
    """Check that the index of a packed video needs no decoding, and says what decoding it does."""
    source = as_source(path)
    with VideoStream(source, strict=True) as stream:
        found = build_index(stream)
    true = survey(source)
    assert not found.is_surveyed
    assert found.size.sum() < true.size.sum()  # without what stands for pictures stored elsewhere
    np.testing.assert_array_equal(found.packet, true.packet)
    np.testing.assert_array_equal(found.timestamps, true.timestamps)
    return found


def test_packed_pictures_are_indexed_without_decoding(tmp_path: Path) -> None:
    path = packed_avi(tmp_path)
    found = assert_indexed_as_surveyed(path)
    assert found.num_frames == 40
    assert len(np.flatnonzero(found.entry)) > 2
    assert_exact(path)


GENUINE = ["clips/hmdb51/*.avi", "clips/ucf101/v_ApplyEyeMakeup*.avi", "ps7_actions/**/*.avi"]


@pytest.mark.parametrize("name", GENUINE)
def test_genuine_packed_videos_are_indexed_without_decoding(test_data: Path, name: str) -> None:
    paths = sorted(test_data.glob(name))[:2]
    assert paths
    for path in paths:
        assert_indexed_as_surveyed(path)


def without_mark(packets: Packets) -> Packets:
    return [packet.replace(DIVX, b"") for packet in packets]


def without_placeholder(packets: Packets) -> Packets:
    at = packets.index(PLACEHOLDER, 9)
    return packets[:at] + packets[at + 1 :]


def with_placeholder(packets: Packets) -> Packets:
    at = packets.index(PLACEHOLDER, 9)
    return [*packets[:at], PLACEHOLDER, *packets[at:]]


def with_three(packets: Packets) -> Packets:
    at = next(i for i, packet in enumerate(packets) if i > 9 and packet.count(VOP) == 2)
    return [*packets[:at], packets[at] + packets[at + 1], *packets[at + 2 :]]


def with_headers(packets: Packets) -> Packets:
    """Repeat the headers before a VOP that waits: the decoder then forgets the one before."""
    at = next(i for i, packet in enumerate(packets) if i > 9 and packet.count(VOP) == 2) + 1
    return [*packets[:at], packets[0][: packets[0].index(VOP)] + packets[at], *packets[at + 1 :]]


def beginning_between(packets: Packets) -> Packets:
    return [packets[0] + packets[2], *packets[2:]]


def with_other_headers(packets: Packets) -> Packets:
    """Name another encoder within the stream: its inverse transform may be another."""
    at = next(i for i, packet in enumerate(packets) if i > 9 and DIVX in packet)
    changed = packets[at].replace(b"DivX503b1393p", b"DivX503b1394p")
    return [*packets[:at], changed, *packets[at + 1 :]]


def with_two_marks(packets: Packets) -> Packets:
    return [packet.replace(DIVX, DIVX + DIVX[:-1]) for packet in packets]


def with_reference_in_between(packets: Packets) -> Packets:
    """Send another reference where a B-VOP waits: the decoder drops it."""
    at = packets.index(PLACEHOLDER, 9)
    reference = next(packet for packet in packets[9:] if packet.count(VOP) == 2)
    return [*packets[:at], reference[: reference.rindex(VOP)], *packets[at + 1 :]]


CHANGES = [
    without_mark,
    without_placeholder,
    with_placeholder,
    with_three,
    with_headers,
    with_other_headers,
    with_two_marks,
    with_reference_in_between,
    beginning_between,
]


@pytest.mark.parametrize("change", CHANGES)
def test_doubtful_packing_is_decoded_once(
    tmp_path: Path, change: Callable[[Packets], Packets]
) -> None:
    assert assert_exact(packed_avi(tmp_path, change)).index.is_surveyed


def test_b_vop_without_a_picture_to_follow_gives_none(tmp_path: Path) -> None:
    def cut_behind_a_pair(packets: Packets) -> Packets:
        last = max(i for i, packet in enumerate(packets) if packet.count(VOP) == 2)
        return packets[: last + 1]

    found = assert_exact(packed_avi(tmp_path, cut_behind_a_pair)).index
    assert not found.is_surveyed
    assert found.num_frames < 40


def test_packed_pictures_that_cannot_be_read_one_by_one_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoredLog, "packets", lambda *_: None)
    assert assert_exact(packed_avi(tmp_path)).index.is_surveyed


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mp4"])
@pytest.mark.parametrize("lost", [(10, 14), (11, 12), (12, 15)])
def test_b_vops_out_of_their_place_are_not_counted(
    tmp_path: Path, name: str, lost: tuple[int, int]
) -> None:
    """FFmpeg drops a B-VOP whose time is not between those of its references."""
    source = write(tmp_path / f"whole_{name}", "mpeg4", scene(40), options={"bf": "2", "g": "15"})
    assert not assert_exact(source).index.is_surveyed
    assert_exact(remux(source, tmp_path / name, lambda n, _: not lost[0] <= n < lost[1]))


def test_interlaced_b_vops_are_decoded_once(tmp_path: Path) -> None:
    options = {"bf": "2", "g": "15", "flags": "+ildct+ilme"}
    path = write(tmp_path / "a.mp4", "mpeg4", scene(40), options=options)
    assert assert_exact(path).index.is_surveyed


def test_empty_packet_of_a_stream_that_packs_nothing_is_a_doubt(tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / "a.avi", "mpeg4", scene(5)))) as file:
        first = next(bytes(packet) for packet in file.demux(video=0))
    parser = MPEG4Parser(b"")
    assert parser.picture(first) is not None
    assert parser.picture(b"\x7f") is None
    packing = MPEG4Parser(DIVX)
    assert packing.picture(first) is not None
    assert packing.picture(b"\x7f") is not None


@pytest.mark.parametrize(
    ("name", "codec", "expected"),
    [("a.avi", "mpeg4", True), ("a.mp4", "mpeg4", False), ("a.avi", "libx264", False)],
)
def test_lag_of_an_encoder_is_one_of_mpeg4_in_avi(
    tmp_path: Path, name: str, codec: str, expected: bool
) -> None:
    source = as_source(write(tmp_path / name, codec, scene(5)))
    with VideoStream(source, strict=True) as stream:
        assert building._stamps_decoding(stream) is expected
