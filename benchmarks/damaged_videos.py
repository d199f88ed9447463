"""Count the damaged copies of good videos that are named, and those that pass as shorter ones.

    uv run python benchmarks/damaged_videos.py VIDEO...

Each video is copied with a hole of zeros, with a stretch of other bytes, with a stretch left out,
cut off, and with four bits flipped, at several places behind its headers, and every frame of each
copy is decoded, as by `kinetoscope doctor --full`. Copies that pass are compared with a plain
decode. A line tells of each kind and suffix; the last ones name what passed wrongly.
"""

import argparse
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from datamodules.health.decode_check import Part, decode_part
from datamodules.video.reader import VideoReader
from datamodules.video.stream import ANY_METADATA

HEADERS = 2_000
"""Bytes at the start of a file that stay as they are."""


def _hole(data: bytes, start: int, length: int, _: random.Random) -> bytes:
    return data[:start] + bytes(length) + data[start + length :]


def _overwritten(data: bytes, start: int, length: int, chooser: random.Random) -> bytes:
    return data[:start] + chooser.randbytes(length) + data[start + length :]


def _left_out(data: bytes, start: int, length: int, _: random.Random) -> bytes:
    return data[:start] + data[start + length :]


def _cut(data: bytes, start: int, _length: int, _: random.Random) -> bytes:
    return data[:start]


def _flipped(data: bytes, start: int, _length: int, chooser: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(4):
        changed[chooser.randrange(start, len(data))] ^= 1 << chooser.randrange(8)
    return bytes(changed)


KINDS: dict[str, Callable[[bytes, int, int, random.Random], bytes]] = {
    "hole": _hole,
    "overwritten": _overwritten,
    "left out": _left_out,
    "cut": _cut,
    "bits": _flipped,
}


def damaged_copies(data: bytes, kind: str, count: int, seed: str) -> list[bytes]:
    """Make damaged copies of a file.

    Args:
        data: The file.
        kind: One of `KINDS`.
        count: Number of copies.
        seed: Decides about places and lengths: of 2 to 30 % of the file.
    """
    chooser, copies = random.Random(seed), []
    for _ in range(count):
        start = chooser.randrange(min(HEADERS, len(data) // 4), len(data) * 9 // 10)
        length = max(1, int(len(data) * chooser.uniform(0.02, 0.3)))
        copies.append(KINDS[kind](data, start, min(length, len(data) - start), chooser))
    return copies


def _outcome(path: Path, data: bytes, num_frames: int) -> str:
    path.write_bytes(data)
    result = decode_part(Part(str(path)))
    if result.verdict is not None:
        return result.verdict
    if result.num_frames != num_frames:
        return f"SHORTER: {result.num_frames} of {num_frames} frames"
    differing = _differing(path)
    return f"OTHER: frames {differing} are not a plain decode's" if differing else "all frames"


def _differing(path: Path) -> list[int]:
    """List the frames that are not what decoding the whole file gives."""
    with VideoReader(path) as reader, av.open(str(path), **ANY_METADATA) as container:
        container.streams.video[0].codec_context.thread_count = 1
        ours = (reader.get_frames([number], more=True)[0] for number in range(reader.num_frames))
        plain = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return [
            number
            for number, (one, other) in enumerate(zip(ours, plain, strict=True))
            if not np.array_equal(one.permute(1, 2, 0).numpy(), other)
        ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--copies", type=int, default=5, help="of each video and kind")
    words = parser.parse_args()
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    passed = []
    with tempfile.TemporaryDirectory() as folder:
        for video in words.videos:
            whole = decode_part(Part(str(video))).num_frames
            for kind in KINDS:
                copies = damaged_copies(video.read_bytes(), kind, words.copies, f"{video} {kind}")
                for number, data in enumerate(copies):
                    place = Path(folder, f"{video.stem}_{kind}_{number}{video.suffix}")
                    told = _outcome(place, data, whole)
                    counts[kind, video.suffix][told.partition(":")[0]] += 1
                    if told.startswith(("SHORTER", "OTHER")):
                        passed.append(f"{video} {kind} {number}: {told}")
    for (kind, suffix), told in counts.items():
        print(f"{kind:12} {suffix:6}", ", ".join(f"{what} {n}" for what, n in told.most_common()))
    print(*passed, sep="\n")


if __name__ == "__main__":
    main()
