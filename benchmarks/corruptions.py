"""The cost of each corruption: processor time of a clip, beside decoding it, in one run.

    OMP_NUM_THREADS=1 uv run python benchmarks/corruptions.py [VIDEO]

Without a video, one of 320 x 240 pixels is made. Every round decodes the clip and corrupts it in
every severity, all in turn; the table, in Markdown, holds medians over the rounds. Processor time
is counted, so that other work on the machine changes little.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from datamodules import VideoReader
from datamodules.clips.corruptions.catalogue import CORRUPTIONS, Corruption
from datamodules.motion_shapes.generation import encode_frames
from datamodules.motion_shapes.rendering import render_clip

STRIDE = 2


def main() -> None:
    """Time all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("video", type=Path, nargs="?", help="by default one is made")
    parser.add_argument("--frames", type=int, default=16, help="of the clip")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or make_video(Path(folder) / "made.mp4", options.frames)
        frames, _ = read_clip(video, options.frames)
        rounds = [time_round(video, options.frames) for _ in range(options.rounds)]
    shape = " x ".join(str(n) for n in (len(frames), *frames.shape[-2:]))
    name = "a made video" if options.video is None else video.name
    print(f"one clip of {name}, {shape}: decoding {median(r['decoding'] for r in rounds):.1f} ms\n")
    print("| corruption | 1 | 2 | 3 | 4 | 5 |\n|---|---|---|---|---|---|")
    for corruption in CORRUPTIONS:
        times = [median(r[f"{corruption}@{severity}"] for r in rounds) for severity in range(1, 6)]
        print(f"| `{corruption}` | {' | '.join(f'{ms:.1f}' for ms in times)} |")


def make_video(path: Path, num_frames: int) -> Path:
    """Write a video that is long enough for the clip."""
    rendered = render_clip(np.random.default_rng(0), 0, STRIDE * num_frames, 320)
    path.write_bytes(encode_frames(np.ascontiguousarray(rendered.frames[:, :240])))
    return path


def read_clip(video: Path, num_frames: int) -> tuple[Tensor, int]:
    """Decode the clip, (T, C, H, W); and the frames of the whole video."""
    with VideoReader(video) as reader:
        return reader.get_frames(np.arange(num_frames) * STRIDE), reader.num_frames


def time_round(video: Path, num_frames: int) -> dict[str, float]:
    """Time everything once, in milliseconds of processor time."""
    found = {"decoding": timed(lambda: read_clip(video, num_frames))}
    frames, total = read_clip(video, num_frames)
    numbers = np.arange(num_frames)[None] * STRIDE
    for name in CORRUPTIONS:
        for severity in range(1, 6):
            corruption = Corruption(name, severity)

            def corrupt(corruption: Corruption = corruption) -> None:
                chosen = corruption.order(numbers, total, video.name)
                corruption.pixels(frames, chosen, video.name)

            found[str(corruption)] = timed(corrupt)
    return found


def timed(work: Callable[[], object]) -> float:
    """Run something; milliseconds of processor time that it took."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


if __name__ == "__main__":
    main()
