"""What packets tell of their pictures without decoding: packed B-VOPs of MPEG-4, as in UCF101."""

import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import assert_exact, scene, write

from datamodules.storage.source import as_source
from datamodules.video.indices.building import build_index, survey
from datamodules.video.indices.index import VideoIndex
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


CHANGES = [
    without_mark,
    without_placeholder,
    with_placeholder,
    with_three,
    with_headers,
    beginning_between,
]


@pytest.mark.parametrize("change", CHANGES)
def test_doubtful_packing_is_decoded_once(
    tmp_path: Path, change: Callable[[Packets], Packets]
) -> None:
    assert assert_exact(packed_avi(tmp_path, change)).index.is_surveyed
