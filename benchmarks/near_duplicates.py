"""Measure how many copies of real clips are found as near-duplicates, and the false alarms.

    uv run python benchmarks/near_duplicates.py FOLDER... [--every N]

Of every N-th video file or frame folder below the folders, five copies are made and held against
all originals, as by `kinetoscope doctor --near_duplicates`: encoded again (H.264, CRF 30), at half
size, without its first second or part of one, mirrored, and all of that at once. Then the originals
are held against each other: pairs of different groups that are found are false alarms, or are
copies in truth, so they are named. Copies live in a temporary folder, one at a time.
"""

import argparse
import random
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.health.decode_check import Part, decode_part
from datamodules.health.fingerprints import FOLDER_RATE, Fingerprint, unpacked
from datamodules.health.near_duplicates import LEAST_FRAMES, near_duplicates
from datamodules.video.reader import open_video
from datamodules.video.suffixes import is_video

GROUPS = r"(v_\w+_g\d+)_c|A\d(P\d)T|(person\d+)"
"""What names a group in a file's name: UCF101, PS7, Weizmann and KTH."""

MOST_FRAMES, MOST_PIXELS = 300, 1024 * 768
"""Frames of a clip that are copied, and pixels of a frame of those that are."""

Frames = list[NDArray[np.uint8]]


class Clip(NamedTuple):
    """A video with its fingerprint."""

    path: Path
    group: str
    frames: Fingerprint


def _half(frames: Frames) -> Frames:
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    cells = (f[:height, :width].reshape(height // 2, 2, width // 2, 2, 3) for f in frames)
    return [cell.mean((1, 3)).astype(np.uint8) for cell in cells]


def _mirrored(frames: Frames) -> Frames:
    return [frame[:, ::-1] for frame in frames]


KINDS: dict[str, tuple[int, bool, Callable[[Frames], Frames]]] = {
    "re-encoded": (30, False, list),
    "half size": (23, False, _half),
    "shifted": (23, True, list),
    "mirrored": (23, False, _mirrored),
    "all of it": (28, True, lambda frames: _half(_mirrored(frames))),
}
"""Constant rate factor, if the start is left out, and the change of the frames."""


def _write(path: Path, frames: Frames, rate: float, crf: int) -> None:
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "ultrafast"}
        stream.codec_context.thread_count = 1
        for pixels in frames:
            inside = np.ascontiguousarray(pixels[:height, :width])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(inside, format="rgb24")))
        file.mux(stream.encode())


def _fingerprint(path: Path) -> Fingerprint:
    return unpacked(decode_part(Part(str(path)), with_fingerprint=True).fingerprint)


def _copies(clip: Clip, folder: Path) -> Iterator[tuple[str, Fingerprint]]:
    """Make the copies of a clip, one after the other, and take their fingerprints."""
    with open_video(clip.path, FOLDER_RATE if clip.path.is_dir() else None) as video:
        if video.height * video.width > MOST_PIXELS:
            return
        rate, count = video.frame_rate, min(video.num_frames, MOST_FRAMES)
        frames = [f.permute(1, 2, 0).numpy() for i in range(count) for f in video.get_frames([i])]
    seconds = random.Random(clip.path.name).uniform(0, 1)
    late = max(1, round(min(seconds, count / rate / 2) * rate))
    for kind, (crf, is_late, change) in KINDS.items():
        path = folder / "copy.mp4"
        _write(path, change(frames[late:] if is_late else frames), rate, crf)
        yield kind, _fingerprint(path)


def _clips(folders: list[Path]) -> Iterator[Clip]:
    paths = (path for folder in folders for path in sorted(folder.rglob("*")) if is_video(path))
    for path in paths:
        frames = _fingerprint(path)
        found = re.search(GROUPS, path.name)
        group = next(filter(None, found.groups())) if found else path.name
        if len(frames) >= LEAST_FRAMES:
            yield Clip(path, f"{path.parent}: {group}", frames)


def _recall(clips: list[Clip], every: int) -> None:
    """Print how many copies of each kind are found, by folder of the originals."""
    originals = [clip.frames for clip in clips]
    found, made, others = (defaultdict[str, Counter[str]](Counter) for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        for number, clip in list(enumerate(clips))[::every]:
            for kind, frames in _copies(clip, Path(folder)):
                is_turned = kind in ("mirrored", "all of it")
                alike = {j: like for _, j, like in near_duplicates([frames], originals)}
                made[clip.path.parent.name][kind] += 1
                hit = number in alike and alike[number].is_mirrored == is_turned
                found[clip.path.parent.name][kind] += hit
                if not hit:
                    print(f"missed: {clip.path.name}, {kind}, {len(frames)} frames")
                wrong = [j for j in alike if clips[j].group != clip.group]
                others[clip.path.parent.name][kind] += len(wrong)
    print("\nfolder        " + "".join(f"{kind:>14}" for kind in KINDS))
    made["all"], found["all"] = sum(made.values(), Counter()), sum(found.values(), Counter())
    for name, counts in made.items():
        cells = "".join(f"{f'{found[name][kind]} / {counts[kind]}':>14}" for kind in KINDS)
        print(f"{name:14}{cells}")
    total, wrong_pairs = sum(made["all"].values()), sum(sum(c.values()) for c in others.values())
    print(f"copies found beside an original of another group: {wrong_pairs} of {total} copies\n")


def _false_alarms(clips: list[Clip]) -> None:
    """Print the pairs of originals that are found, those of different groups by name."""
    frames, begin = [clip.frames for clip in clips], time.perf_counter()
    found = [(i, j, like) for i, j, like in near_duplicates(frames, frames) if i < j]
    seconds = time.perf_counter() - begin
    sizes = Counter(clip.group for clip in clips)
    one_group = sum(size * (size - 1) // 2 for size in sizes.values())
    pairs = len(clips) * (len(clips) - 1) // 2 - one_group
    others = [(i, j, like) for i, j, like in found if clips[i].group != clips[j].group]
    print(f"pairs of different groups: {len(others)} of {pairs:,} found")
    for i, j, like in others:
        print(f"  {clips[i].path.name} = {clips[j].path.name}: {like.score:.3f}, {like.view:.3f}")
    print(f"pairs of one group: {len(found) - len(others)} of {one_group:,} found")
    rate = len(clips) ** 2 / seconds
    print(f"search: {seconds:.2f} s for {len(clips)} against {len(clips)}, {rate:,.0f} pairs/s")


def _cost(clips: list[Clip]) -> None:
    """Print what fingerprints cost beside plain decoding, in seconds of the processor."""
    seconds = {}
    for with_fingerprint in (False, True):
        begin = time.process_time()
        for clip in clips:
            decode_part(Part(str(clip.path)), with_fingerprint)
        seconds[with_fingerprint] = 1000 / len(clips) * (time.process_time() - begin)
    size = 1000 / len(clips) * sum(clip.frames.nbytes for clip in clips)
    print(
        f"a thousand videos like these: {seconds[True]:.0f} s of one core with fingerprints, "
        f"{seconds[False]:.0f} s without, {size / 1e6:.1f} MB of fingerprints"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=1, help="copy each N-th clip only")
    words = parser.parse_args()
    torch.set_num_threads(1)
    clips = list(_clips(words.folders))
    print(f"{len(clips)} clips of {len({clip.group for clip in clips})} groups", flush=True)
    _false_alarms(clips)
    _cost(clips[:: words.every])
    _recall(clips, words.every)


if __name__ == "__main__":
    main()
