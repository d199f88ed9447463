"""Processor time of a video's index: from packet headers, against decoding it once from end to end.

Both are made of the same files in turn, on one thread, with nothing cached; files whose headers
leave a doubt are left out and counted.

    uv run python benchmarks/indexing.py VIDEOS
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import av

from datamodules.storage.source import Source, as_source
from datamodules.video.indices.building import build_index, survey
from datamodules.video.stream import VideoStream
from datamodules.video.suffixes import VIDEO_SUFFIXES


def from_headers(source: Source) -> bool:
    """Index a file as a reader does; False where that needed a survey."""
    with VideoStream(source, strict=True) as stream:
        return not build_index(stream).is_surveyed


def milliseconds(work: Callable[[Source], object], source: Source) -> float:
    """Measure the processor time of one index."""
    begun = time.process_time()
    work(source)
    return 1e3 * (time.process_time() - begun)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("videos", type=Path, help="folder of videos, at any depth")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    paths = [path for path in sorted(options.videos.rglob("*")) if path.suffix in VIDEO_SUFFIXES]
    sources = [as_source(path) for path in paths]
    told = [source for source in sources if from_headers(source)]
    versions = f"PyAV {av.__version__}, Python {platform.python_version()}"
    print(f"{versions}; {platform.machine()}, {os.cpu_count()} cores")
    print(f"{len(told)} of {len(sources)} videos are indexed from headers")
    headers, surveys = [], []
    for _ in range(options.rounds):
        headers.append(statistics.mean(milliseconds(from_headers, source) for source in told))
        surveys.append(statistics.mean(milliseconds(survey, source) for source in told))
    ratios = [theirs / ours for theirs, ours in zip(surveys, headers, strict=True)]
    print(
        f"headers {statistics.median(headers):.2f} ms a video, decoding "
        f"{statistics.median(surveys):.2f} ms, ratio {statistics.median(ratios):.1f} "
        f"({min(ratios):.1f}-{max(ratios):.1f})"
    )


if __name__ == "__main__":
    main()
