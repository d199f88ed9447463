"""Seconds to read a checkpoint verified, against `torch.load`, which checks no checksum.

    uv run python benchmarks/checkpoint_reading.py --megabytes 400

The file is in the page cache for both. What is measured stands in docs/resume.md.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from models.weights_file import read_weights_file


def main() -> None:
    """Write a checkpoint of many tensors and read it, the two ways in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "last.ckpt"
        torch.save({str(i): torch.randn(250_000) for i in range(options.megabytes)}, path)
        read_weights_file(path)
        plain, verified = [], []
        for _ in range(options.rounds):
            plain.append(seconds(lambda: torch.load(path, weights_only=True)))
            verified.append(seconds(lambda: read_weights_file(path)))
        size = path.stat().st_size / 1e6
    print(f"{size:.0f} MB: torch.load {min(plain):.2f} s, verified {min(verified):.2f} s")


def seconds(call: Callable[[], object]) -> float:
    """Measure the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
