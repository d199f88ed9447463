"""How fast clips come out of a loader, by number of worker processes, and what memory they need."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from datamodules.dataset import VideoDataset, collate_videos
from datamodules.randomness import sample_generator
from datamodules.samplers import SampleKey

SHARED_MEMORY = Path("/dev/shm")
"""Where worker processes hand over their batches."""

PREFETCHED = 2
"""Batches that each worker has ready, PyTorch's default."""


@dataclass(frozen=True)
class LoaderSpeed:
    """Speed of a loader.

    Attributes:
        num_workers: Its worker processes.
        clips_per_second: Clips that came out once all workers were busy.
    """

    num_workers: int
    clips_per_second: float


class _EndlessSampler(Sampler[SampleKey]):
    """Epoch after epoch of the same videos."""

    def __init__(self, indices: NDArray[np.int64], seed: int) -> None:
        self._indices = indices
        self._seed = seed

    def __iter__(self) -> Iterator[SampleKey]:
        for epoch in count():
            generator = sample_generator(self._seed, epoch, 0, purpose="order")
            for index in generator.permutation(self._indices).tolist():
                yield SampleKey(epoch, index)


def measure_loader(
    dataset: VideoDataset,
    indices: Sequence[int],
    batch_size: int,
    num_workers: int,
    seconds: float,
    limit: float,
) -> LoaderSpeed:
    """Load training clips for a while.

    Args:
        dataset: Training videos.
        indices: Positions of videos that are known to decode.
        batch_size: Clips of a batch.
        num_workers: Worker processes; 0 loads in this one.
        seconds: How long to measure, once every worker has given a batch.
        limit: Seconds that one batch may take.
    """
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=_EndlessSampler(np.array(indices, dtype=np.int64), dataset.seed),
        num_workers=num_workers,
        prefetch_factor=PREFETCHED if num_workers else None,
        collate_fn=collate_videos,
        timeout=limit if num_workers else 0,
    )
    batches = iter(loader)
    for _ in range(max(1, num_workers)):
        next(batches)
    begin, clips, elapsed = time.perf_counter(), 0, 0.0
    while elapsed < seconds or not clips:
        clips += len(next(batches)["video_id"])
        elapsed = time.perf_counter() - begin
    return LoaderSpeed(num_workers, clips / elapsed)


def worker_counts(num_cores: int, configured: int) -> list[int]:
    """Numbers of workers worth measuring: 0, powers of two up to the cores, and the configured one.

    Args:
        num_cores: Cores of this machine that may be used.
        configured: What the config says.
    """
    powers = {2**power for power in range(num_cores.bit_length()) if 2**power <= num_cores}
    return sorted({0, num_cores, *powers, min(configured, 2 * num_cores)})


def usable_cores() -> int:
    """Cores that this process may run on, fewer than the machine has under a batch system."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def free_shared_memory() -> int | None:
    """Free bytes that workers can hand over batches in; None where there is no such place."""
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None
