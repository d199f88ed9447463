"""How long a list of a million videos takes to load, and what its table costs eight workers.

Run as `uv run python benchmarks/annotation_tables.py`. A list in Kinetics' form is written to a
temporary folder and read by `KineticsDataModule`, once with no file there and once with all of
them: the folder's listing is made up, since only the time in Python is of interest. Each time is
the processor's, the best of several. Then eight processes read every row of the table, all at once,
and their memory (PSS, in which a shared page counts once in all, and USS, the pages that no other
process has) is compared with that for a table of a thousand rows.
"""

import argparse
import multiprocessing
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.multiprocessing as torch_multiprocessing
from rich.console import Console
from rich.table import Table

from datamodules import KineticsDataModule
from datamodules.annotations.table import VideoTable
from datamodules.clips.clip_sampler import FrameSampler

WORKERS = 8
NUM_CLASSES = 400


def file_name(number: int) -> str:
    """Name of a made-up video, without its suffix."""
    return f"{number:011x}_{number % 300:06d}_{number % 300 + 10:06d}"


def write_list(folder: Path, rows: int) -> None:
    """Write lists of `rows` training videos and of one video a class for validation."""
    for split, first, count in (("train", 0, rows), ("val", rows, NUM_CLASSES)):
        lines = ["label,youtube_id,time_start,time_end,split"]
        for number in range(first, first + count):
            start = number % 300
            label = f'"action number {number % NUM_CLASSES}"'
            lines.append(f"{label},{number:011x},{start},{start + 10},{split}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextmanager
def made_up_folder(folder: Path, rows: int) -> Iterator[None]:
    """Let `os.scandir` find every listed video in `folder`, which is empty."""
    real = os.scandir
    names = [f"{file_name(number)}.mp4" for number in range(rows + NUM_CLASSES)]
    listing = [SimpleNamespace(name=name, is_symlink=bool, is_dir=bool) for name in names]

    @contextmanager
    def scandir(place: Path) -> Iterator[Any]:
        if Path(place) == folder:
            yield iter(listing)
        else:
            with real(place) as entries:
                yield entries

    folder.mkdir(exist_ok=True)
    with mock.patch("datamodules.annotations.folder_index.os.scandir", scandir):
        yield


def load(root: Path) -> VideoTable:
    """The training table of the dataset at `root`."""
    data = KineticsDataModule(str(root), sampling=FrameSampler(num_frames=8), allow_missing=True)
    data.setup()
    return data.train_set.table


def best_time(root: Path, rows: int, rounds: int) -> float:
    """Processor seconds to set up all splits, the best of several."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        table = load(root)
        times.append(time.process_time() - start)
        assert len(table) == rows
    return min(times)


def memory(process: int | str, kind: str) -> float:
    """Memory of a process in MB; `kind` is an expression for lines of `smaps_rollup`."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(map(int, re.findall(rf"^{kind}: +(\d+) kB", text, re.MULTILINE))) / 1000


def read_all(table: VideoTable, barrier: Barrier) -> None:
    """What a worker does: read every row, then wait to be measured."""
    for index in range(len(table)):
        assert table.video_ids[index] < table.paths[index]
        assert table.labels[index] >= 0
    assert len(table.present) <= len(table)
    assert table.starts.shape == table.ends.shape
    barrier.wait()
    barrier.wait()


@contextmanager
def holding(
    work: Callable[[Any, Barrier], None], subject: object, method: str, count: int
) -> Iterator[list[int]]:
    """Let processes read something, and give their numbers while all of them hold it.

    Args:
        work: Reads it, then waits twice at the barrier.
        subject: What is read.
        method: How the processes start.
        count: Number of processes.
    """
    context = torch_multiprocessing.get_context(method)
    barrier = context.Barrier(count + 1)
    workers = [context.Process(target=work, args=(subject, barrier)) for _ in range(count)]
    for worker in workers:
        worker.start()
    barrier.wait()
    yield [worker.pid for worker in workers]
    barrier.wait()
    for worker in workers:
        worker.join()


def memory_of_workers(table: VideoTable, method: str) -> tuple[float, float]:
    """PSS of all processes and USS of the workers while eight hold the table, in MB."""
    with holding(read_all, table, method, WORKERS) as ids:
        total = sum(memory(pid, "Pss") for pid in ids)
        private = sum(memory(pid, r"Private_\w+") for pid in ids)
    return total, private


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    console = Console()
    times = Table("rows", "missing [s]", "found [s]", title="loading a list")
    sizes = Table("start method", "rows", "PSS [MB]", "USS [MB]", title=f"{WORKERS} workers")
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in (1000, options.rows):
            root = Path(folder) / str(rows)
            root.mkdir()
            write_list(root, rows)
            missing = best_time(root, rows, options.rounds)
            with made_up_folder(root / "train", rows):
                found = best_time(root, rows, options.rounds)
                tables[rows] = load(root)
            assert len(tables[rows].present) == rows
            times.add_row(f"{rows:,}", f"{missing:.2f}", f"{found:.2f}")
    for method in ("fork", "forkserver"):
        for rows, table in tables.items():
            total, private = memory_of_workers(table, method)
            sizes.add_row(method, f"{rows:,}", f"{total:.0f}", f"{private:.0f}")
    console.print(times, sizes)
    console.print(f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}")


if __name__ == "__main__":
    multiprocessing.freeze_support()
    main()
