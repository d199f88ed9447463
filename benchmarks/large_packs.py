"""Ten million packed videos: how soon a training can begin, and what its processes take for it.

    uv run python benchmarks/large_packs.py --rows 10000000

The index of a packed dataset is made up, and a list of all of its videos. `first` reads the list,
which is kept from then on; `again` is every later start: seconds until the first key is drawn and
its video found in the index. Two loader processes are then given the dataset, by fork and by
forkserver, and look up a hundred thousand random rows. Private memory is what a process has
written and shares with no other, over that of the same process with a thousand videos; pages of the
files that are mapped belong to the system's cache.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
from annotation_tables import holding, memory
from rich.console import Console
from rich.table import Table

from datamodules import FrameSampler, VideoFolderDataModule
from datamodules.dataset import VideoDataset
from datamodules.packing import kept_lists
from datamodules.storage.elsewhere.node_cache import BLOCK

CLASSES = 400
WORKERS = 2
LOOKED_UP = 100_000


def digits(numbers: np.ndarray, width: int) -> np.ndarray:
    """Write numbers in a fixed width, (N,) to bytes (N, width)."""
    powers = 10 ** np.arange(width - 1, -1, -1)
    return (numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8)


def fixed(text: bytes, rows: int) -> np.ndarray:
    """Repeat a text in every row, (rows, length)."""
    return np.broadcast_to(np.frombuffer(text, np.uint8), (rows, len(text)))


def make_up(root: Path, rows: int) -> None:
    """Write the index of a packed dataset, and its lists, without any shard."""
    index, numbers = root / "index", np.arange(rows)
    index.mkdir(parents=True)
    names = np.hstack([fixed(b"videos/", rows), digits(numbers, 9), fixed(b".mp4", rows)])
    size = np.full(rows, 300_000)
    arrays = {
        "names": names.ravel(),
        "ends": names.shape[1] * np.arange(1, rows + 1),
        "shard": (numbers // 4000).astype(np.int32),
        "start": numbers % 4000 * 300_512,
        "size": size,
        "crc": np.zeros(rows, np.uint32),
        "note_ends": np.zeros(rows, np.int64),
        "blocks": np.zeros(0, np.uint32),
    }
    for name, array in arrays.items():
        np.save(index / f"{name}.npy", array)
    files = [[f"shards/shard-{n:06d}.tar", 0] for n in range(-(-rows // 4000))]
    about = {"files": files, "lists": [], "block_bytes": BLOCK, "digest": 0}
    (index / "about.json").write_text(json.dumps(about))
    (root / "pack.json").write_text("{}")
    label = digits(numbers % CLASSES, 3)
    lines = np.hstack([names, fixed(b" c", rows), label, fixed(b"\n", rows)])
    lines[: -len(lines) // 100].tofile(root / "train.txt")
    lines[-len(lines) // 100 :].tofile(root / "val.txt")


def begin(root: Path) -> VideoDataset:
    """Set the data up and find the first video, as a training does."""
    data = VideoFolderDataModule(
        str(root),
        train_list="train.txt",
        val_list="val.txt",
        sampling=FrameSampler(num_frames=8),
    )
    data.setup("fit")
    first = next(iter(data._train_sampler()))
    assert data.train_set._path(first.index).size() == 300_000
    return data.train_set


def look_up(dataset: VideoDataset, barrier: Barrier) -> None:
    """What a loader process needs of the tables, then wait to be measured."""
    table = dataset.table
    for index in np.random.default_rng(os.getpid()).integers(len(table), size=LOOKED_UP).tolist():
        assert table.video_ids[index] == table.paths[index]
        assert table.label(index) < CLASSES
    assert dataset._path(len(table) - 1).is_file()
    barrier.wait()
    barrier.wait()


def measure(root: Path) -> dict[str, float]:
    """Begin once, and give the dataset to loader processes."""
    kept_lists.LEAST = 0  # the small dataset's, too
    started = time.perf_counter()
    dataset = begin(root)
    found = {"seconds": time.perf_counter() - started, "main": memory("self", "Private_Dirty")}
    for method in ("fork", "forkserver"):
        with holding(look_up, dataset, method, WORKERS) as ids:
            found[method] = max(memory(pid, "Private_Dirty") for pid in ids)
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    table = Table("videos", "start", "seconds", "main [MB]", "fork [MB]", "forkserver [MB]")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "KINETOSCOPE_CACHE": f"{folder}/cache"}
        found: dict[tuple[int, str], dict[str, float]] = {}
        for rows in (1000, options.rows):
            root = Path(folder) / str(rows)
            make_up(root, rows)
            for start in ("first", "again"):
                command = [sys.executable, __file__, "--measure", str(root)]
                ended = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
                found[rows, start] = json.loads(ended.stdout.splitlines()[-1])
        for (rows, start), values in found.items():
            more = [
                values[name] - found[1000, start][name] for name in ("main", "fork", "forkserver")
            ]
            cells = [f"{values['seconds']:.1f}", *(f"{value:.0f}" for value in more)]
            table.add_row(f"{rows:,}", start, *cells)
            print({name: round(value, 1) for name, value in values.items()})
    Console().print(table)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}")


if __name__ == "__main__":
    main()
