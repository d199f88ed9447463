"""Labels along time: boundaries on ten minutes of joined clips, memory, decoding, speed.

Clips of MotionShapes that a checkpoint labels rightly one by one are joined to a video, ten of a
class after another, so that its true boundaries are known. `kinetoscope predict --window` labels
it, as a process of its own whose memory is watched, and so the first minute of it, and an endless
filter of FFmpeg.

    uv run kinetoscope fit --config quickstart
    uv run python benchmarks/timelines.py --ckpt_path runs/quickstart/0/checkpoints/best.ckpt

Exit code 1 if a boundary is missed or further off than a window, or memory grows.
"""

import argparse
import csv
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import av
import numpy as np

from datamodules import VideoReader
from datamodules.streaming.writing import VideoWriter

RATE = 25
GROWTH = 1.05
"""By which factor ten times the length may raise the memory."""


@dataclass
class Watched:
    """A finished command: its seconds, and the memory that it held over time, in MB.

    `began` is when its first result was kept, after what every command has to import and open.
    """

    seconds: float
    began: float
    resident: list[tuple[float, float]]

    @property
    def peak(self) -> float:
        """The most memory that it held."""
        return max(megabytes for _, megabytes in self.resident)

    def median(self, low: float, high: float) -> float:
        """The median of its memory between two shares of the time since it began."""
        span = self.resident[-1][0] - self.began
        shares = [((t - self.began) / span, megabytes) for t, megabytes in self.resident]
        return float(np.median([m for share, m in shares if low <= share <= high]))


def main() -> int:
    """Make the videos, label them, print."""
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    video, truth = _join(options)
    print(f"{video}: {truth[-1][1]:.0f} s, {len(truth)} stretches", flush=True)
    minute = options.folder / "minute.mp4"
    if not minute.exists():
        _cut(video, minute, 60)
    window = ["--window", options.window, "--step", options.step]
    rows, events = options.folder / "rows.csv", options.folder / "events.csv"
    short = _watch("predict", *_given(options, options.folder / "minute.csv"), *window, str(minute))
    long = _watch("predict", *_given(options, rows), *window, str(video))
    words = ["--threshold", "0.5", "--max_gap", "1", "--min_length", "2"]
    _watch("predict", "--events", str(rows), "--out", str(events), *words)
    source = ["--source", "lavfi:testsrc2=size=320x240:rate=25", "--seconds", str(options.endless)]
    live = _watch("predict", *_given(options, options.folder / "live.csv"), *window, *source)
    offsets, missed = _compare(events, truth)
    for name, run in (("one minute", short), ("ten minutes", long)):
        first = f"{run.began:.1f} s to the first row"
        held = f"{run.median(0.5, 1.0):.0f} MB in the second half of the rows"
        print(f"{name}: {run.seconds:.1f} s ({first}), peak {run.peak:.0f} MB, {held}")
    early, late = live.median(0.2, 0.4), live.median(0.8, 1.0)
    print(
        f"endless, {options.endless} s of it: {live.seconds:.1f} s, {early:.0f} MB at 20-40 % of "
        f"the rows, {late:.0f} MB at 80-100 %"
    )
    print(
        f"boundaries: {len(offsets)} of {len(truth) - 1} found, off by {np.mean(offsets):.2f} s on "
        f"average, {max(offsets):.2f} s at most; wrong or missing stretches: {missed}"
    )
    longest = float(options.window)
    # not their peaks, most of which are those of the start, and differ from run to run
    flat = long.median(0.5, 1.0) <= GROWTH * short.median(0.5, 1.0) and late <= GROWTH * early
    return 0 if flat and not missed and max(offsets) <= longest else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ckpt_path", required=True)
    parser.add_argument("--clips", type=Path, default=Path("data/motion_shapes/test"))
    parser.add_argument("--folder", type=Path, default=Path("runs/timelines"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--window", default="1")
    parser.add_argument("--step", default="0.2")
    parser.add_argument("--endless", type=float, default=600, help="seconds of the endless source")
    return parser.parse_args()


def _given(options: argparse.Namespace, out: Path) -> list[str]:
    return ["--ckpt_path", options.ckpt_path, "--out", str(out), "--device", "cpu"]


def _join(options: argparse.Namespace) -> tuple[Path, list[tuple[float, float, str]]]:
    """Join clips that are labelled rightly, ten of a class, then ten of another."""
    table, video = options.folder / "clips.csv", options.folder / f"{options.minutes:g}_minutes.mp4"
    if not table.exists():
        _watch("predict", *_given(options, table), str(options.clips))
    right: dict[str, list[str]] = {}
    with table.open() as file:
        for row in csv.DictReader(file):
            if row["class_1"] == Path(row["video"]).parent.name:
                right.setdefault(row["class_1"], []).append(row["video"])
    draw, truth, frames = np.random.default_rng(0), list[tuple[float, float, str]](), 0
    writer = None if video.exists() else VideoWriter(video, RATE)
    while frames < options.minutes * 60 * RATE:
        others = [name for name in sorted(right) if not truth or name != truth[-1][2]]
        name, begin = str(draw.choice(others)), frames
        for path in draw.choice(right[name], 10):
            with VideoReader(path) as reader:
                pixels = reader.get_frames(range(reader.num_frames)).permute(0, 2, 3, 1).numpy()
            for picture in pixels:
                if writer is not None:
                    writer.write(picture, frames / RATE)
                frames += 1
        truth.append((begin / RATE, frames / RATE, name))
    if writer is not None:
        writer.__exit__(None, None, None)
    return video, truth


def _cut(video: Path, target: Path, seconds: int) -> None:
    with VideoWriter(target, RATE) as writer, av.open(str(video)) as source:
        for number, frame in enumerate(source.decode(video=0)):
            if number == seconds * RATE:
                return
            writer.write(frame.to_ndarray(format="rgb24"), number / RATE)


def _watch(*words: str) -> Watched:
    """Run a command, and look at its memory ten times a second."""
    begin, seen = time.monotonic(), list[tuple[float, float]]()
    command = [sys.executable, "-m", "lightning_modules", *words]
    part = Path(f"{words[words.index('--out') + 1]}.part")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    began = 0.0

    def look() -> None:
        nonlocal began
        while process.poll() is None:
            if not began and part.exists() and part.read_bytes().count(b"\n") > 1:
                began = time.monotonic() - begin
            try:
                text = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            for line in text.splitlines():
                if line.startswith("VmRSS:"):
                    seen.append((time.monotonic() - begin, int(line.split()[1]) / 1000))
            time.sleep(0.1)

    looking = Thread(target=look)
    looking.start()
    code = process.wait()
    looking.join()
    if code:
        raise SystemExit(f"{' '.join(words)} ended with {code}")
    return Watched(time.monotonic() - begin, began, seen)


def _compare(events: Path, truth: list[tuple[float, float, str]]) -> tuple[list[float], int]:
    """Hold events against the true stretches: how far boundaries are off, and what is wrong."""
    with events.open() as file:
        found = [(float(r["start"]), float(r["end"]), r["class"]) for r in csv.DictReader(file)]
    found.sort()
    if [name for *_, name in found] != [name for *_, name in truth]:
        wrong = sum(
            not any(
                min(e, end) - max(s, start) > 0.5 * (end - start) and n == name for s, e, n in found
            )
            for start, end, name in truth
        )
        return [float("inf")], wrong + max(0, len(found) - len(truth))
    pairs = list(zip(found, truth, strict=True))
    offsets = [abs(f[1] - t[1]) for f, t in pairs[:-1]] + [abs(f[0] - t[0]) for f, t in pairs[1:]]
    return [max(offsets[i], offsets[i + len(truth) - 1]) for i in range(len(truth) - 1)], 0


if __name__ == "__main__":
    raise SystemExit(main())
