"""How long it takes to fetch frames of real clips, against other ways of fetching the same frames.

Run as `uv run --group bench python benchmarks/decoding.py`. Clips are read from
`KINETOSCOPE_TEST_DATA` (default `../shared/data`). Every method fetches the same frames of the same
clip in turn, on one thread, in an order that changes from round to round, so that whatever else the
machine does falls on all of them; the table gives the median of each method's times and the median
of the paired ratios to ours. Rows: clips as a training sample needs them (8 frames, stride 8,
random start) and as a TSN-style test does (25 even frames). Our reader is timed cold (no index
known) and warm (the second and later epochs). `limit` is FFmpeg alone, decoding the packets that
the wanted frames need, from its key frames on: no frame is converted, copied or checked.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from datamodules.storage.source import as_source
from datamodules.video.indices import cache as index_cache
from datamodules.video.indices.cache import cached_index
from datamodules.video.indices.index import VideoIndex
from datamodules.video.reader import VideoReader
from datamodules.video.stream import ANY_METADATA

Fetch = Callable[[Path, list[int]], object]


def ours_cold(path: Path, indices: list[int]) -> object:
    """Our reader of a file that was never read."""
    index_cache.forget(as_source(path))
    return ours_warm(path, indices)


def ours_kept(path: Path, indices: list[int]) -> object:
    """Our reader of a file that another process of this machine has read."""
    index_cache.recent.clear()
    return ours_warm(path, indices)


def ours_warm(path: Path, indices: list[int]) -> object:
    """Our reader with the index in memory."""
    with VideoReader(path) as reader:
        return reader.get_frames(indices)


def limit(path: Path, indices: list[int]) -> object:
    """Decode what the frames need, and nothing else: below this no reader can come."""
    source = as_source(path)
    index = cached_index(source)
    assert index is not None
    order = np.unique(indices)
    entries = index.entries_for(order)
    stream = index.open_stored(source)
    assert stream is not None
    with stream:
        for entry in np.unique(entries).tolist():
            wanted = set(order[entries == entry].tolist())
            last = int(index.packet[list(wanted)].max())
            stream.flush()
            stream.position = entry
            stream.expect(last)
            while (number := stream.position) <= last:
                packet = stream.read()
                needed = not index.skipping or bool(wanted & _frames_of(index, number))
                stream.context.skip_frame = "DEFAULT" if needed else "NONREF"
                stream.context.decode(packet)
            stream.context.decode(None)
    return None


def _frames_of(index: VideoIndex, packet: int) -> set[int]:
    return set(index.frame[packet : packet + 1 + index.is_surveyed].tolist())


def pyav_whole(path: Path, indices: list[int]) -> object:
    """Decode everything, keep what is wanted."""
    wanted, frames = set(indices), list[np.ndarray]()
    with av.open(str(path), **ANY_METADATA) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
    return np.stack(frames)


def pyav_seek(path: Path, indices: list[int]) -> object:
    """Seek to the key frame before the first wanted frame, decode to the last."""
    frames: list[np.ndarray] = []
    with av.open(str(path), **ANY_METADATA) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        base, rate = stream.time_base or 1, stream.average_rate or 1
        start = stream.start_time or 0
        wanted = [start + round(index / rate / base) for index in indices]
        container.seek(wanted[0], stream=stream)
        tolerance = 0.5 / rate / base
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts >= wanted[len(frames)] - tolerance:
                frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) == len(wanted):
                    break
    return np.stack(frames)


def torchcodec_exact(path: Path, indices: list[int]) -> object:
    """TorchCodec, exact seeks."""
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="exact")
    return decoder.get_frames_at(indices).data


def torchcodec_approximate(path: Path, indices: list[int]) -> object:
    """TorchCodec, seeks by the frame rate: wrong where it varies."""
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="approximate")
    return decoder.get_frames_at(indices).data


def decord_batch(path: Path, indices: list[int]) -> object:
    """Frames by decord."""
    reader = importlib.import_module("decord").VideoReader(str(path), num_threads=1)
    return reader.get_batch(indices).asnumpy()


METHODS: dict[str, Fetch] = {
    "ours, warm": ours_warm,
    "ours, index kept": ours_kept,
    "ours, no index": ours_cold,
    "limit": limit,
    "PyAV seek": pyav_seek,
    "PyAV whole file": pyav_whole,
    "TorchCodec exact": torchcodec_exact,
    "TorchCodec approximate": torchcodec_approximate,
    "decord": decord_batch,
}


def usable(path: Path, console: Console) -> dict[str, Fetch]:
    """The methods that work here; says of the others why not.

    Args:
        path: A clip to try them on.
        console: Where to print.
    """
    found = {}
    for name, fetch in METHODS.items():
        try:
            fetch(path, [0])
        except (ImportError, OSError, RuntimeError) as error:
            console.print(f"without {name}: {str(error).strip().splitlines()[0]}")
        else:
            found[name] = fetch
    return found


def measure(
    path: Path, fetches: dict[str, Fetch], rounds: int, even: bool
) -> dict[str, list[float]]:
    """Seconds per fetch of each method, paired by position; NaN where a method fails.

    Args:
        path: The clip.
        fetches: The methods.
        rounds: Fetches of each method.
        even: 25 even frames instead of 8 frames at stride 8.
    """
    with VideoReader(path) as reader:
        last = reader.num_frames - 1
    chooser, times = random.Random(0), {name: list[float]() for name in fetches}
    for _ in range(rounds):
        start = chooser.randrange(max(1, last - 55))
        indices = [min(start + 8 * i, last) for i in range(8)]
        if even:
            indices = np.linspace(0, last, 25).round().astype(int).tolist()
        for name in chooser.sample(list(fetches), len(fetches)):
            begin = time.perf_counter()
            try:
                fetches[name](path, indices)
            except (RuntimeError, IndexError, ValueError, av.FFmpegError):
                times[name].append(float("nan"))
            else:
                times[name].append(time.perf_counter() - begin)
    return times


def report(
    clips: list[Path],
    root: Path,
    fetches: dict[str, Fetch],
    rounds: int,
    even: bool,
    console: Console,
) -> None:
    """Prints a table: our time in milliseconds, every other method's time over ours.

    Args:
        clips: Files.
        root: Their names are printed relative to it.
        fetches: The methods.
        rounds: Fetches of each method per clip.
        even: See `measure`.
        console: Where to print.
    """
    names = list(fetches)
    title = "25 even frames" if even else "8 frames, stride 8, random start"
    table = Table("clip", f"{names[0]} (ms)", *names[1:], title=title)
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for clip in clips:
        times = measure(clip, fetches, rounds, even)
        ours = np.array(times[names[0]])
        row = [str(clip.relative_to(root)), f"{1000 * np.median(ours):.1f}"]
        for name in names[1:]:
            ratio = float(np.median(np.array(times[name]) / ours))
            ratios[name].append(ratio)
            row.append(f"{ratio:.2f}")
        table.add_row(*row)
    means = [f"{statistics.geometric_mean(_finite(ratios[name])):.2f}" for name in names[1:]]
    table.add_row("geometric mean of ratios", "", *means)
    console.print(table)


def _finite(values: list[float]) -> list[float]:
    return [value for value in values if np.isfinite(value)] or [float("nan")]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, help="fetches per clip and method")
    parser.add_argument("folders", nargs="*", default=["kinetics", "ucf101", "hmdb51"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    root = Path(os.environ.get("KINETOSCOPE_TEST_DATA", default)) / "clips"
    clips = sorted(clip for folder in given.folders for clip in (root / folder).iterdir())
    console = Console(width=160)
    versions = [f"PyAV {av.__version__}", f"torch {torch.__version__}"]
    for name in ("torchcodec", "decord"):
        if importlib.util.find_spec(name) is not None:
            versions.append(f"{name} {importlib.metadata.version(name)}")
    console.print(f"{', '.join(versions)}; {platform.machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["KINETOSCOPE_CACHE"] = os.environ["KINETOSCOPE_NODE_CACHE"] = cache
        fetches = usable(clips[0], console)
        for even in (False, True):
            report(clips, root, fetches, given.rounds, even, console)


if __name__ == "__main__":
    main()
