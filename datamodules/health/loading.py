"""Checks that this machine loads clips fast enough: storage, decoding, workers, shared memory."""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from datamodules.batch import collate_videos
from datamodules.clips.input_spec import InputSpec
from datamodules.dataset import VideoDataset
from datamodules.health.decode_check import DecodeResult
from datamodules.health.findings import Finding, count_of
from datamodules.randomness import sample_generator
from datamodules.samplers import SampleKey

ENOUGH = 0.95
"""Share of the best speed that fewer workers may have and still be advised."""

SLOW = 0.8
"""Share of the best speed below which the configured number of workers is a warning."""

SHARED_MEMORY = Path("/dev/shm")
"""Folder of the memory in which worker processes hand over their batches."""

PREFETCHED = 2
"""Batches that each worker has ready, PyTorch's default."""


PARTS = 4
"""Parts of a measurement whose speeds are compared."""

LONGER = 4
"""Times that a measurement may take longer, to have batches enough."""


@dataclass(frozen=True)
class LoaderSpeed:
    """Speed of a loader.

    Attributes:
        num_workers: Its worker processes.
        clips_per_second: Clips that came out once all workers were busy.
        batches: Batches that were measured.
        slowest: Speed of the slowest part of the measurement, of `PARTS`.
        fastest: Speed of its fastest part.
    """

    num_workers: int
    clips_per_second: float
    batches: int
    slowest: float
    fastest: float

    @property
    def is_enough(self) -> bool:
        """True if advice can be given: each part has two batches, or one of each worker."""
        return self.batches >= batches_needed(self.num_workers)


def batches_needed(num_workers: int) -> int:
    """Count the batches that a measurement needs before advice is given of it."""
    return PARTS * max(2, num_workers)


class _EndlessSampler(Sampler[SampleKey]):
    """A sampler that gives epoch after epoch of the same videos."""

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
    """Load training clips for a while; longer, up to four times, where batches are too few.

    Args:
        dataset: Training videos.
        indices: Positions of videos that are known to decode.
        batch_size: Videos of a batch.
        num_workers: Worker processes; 0 loads in this one.
        seconds: Time to measure for, once every worker has given a batch.
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
        clips = next(batches)["clips"].shape[:2].numel()  # of all views
    ends, needed = [time.perf_counter()], batches_needed(num_workers)
    while len(ends) == 1 or _goes_on(ends[-1] - ends[0], len(ends) - 1, seconds, needed):
        next(batches)
        ends.append(time.perf_counter())
    return _speed(num_workers, clips, ends)


def _goes_on(elapsed: float, batches: int, seconds: float, needed: int) -> bool:
    return elapsed < seconds or (batches < needed and elapsed < LONGER * seconds)


def _speed(num_workers: int, clips: int, ends: Sequence[float]) -> LoaderSpeed:
    """Compute the speed, and that of the parts, from when each batch of clips was ready."""
    batches = len(ends) - 1
    marks = np.unique(np.linspace(0, batches, min(PARTS, batches) + 1).round().astype(np.int64))
    times = np.array(ends)[marks]
    parts = clips * np.diff(marks) / np.diff(times)
    whole = clips * batches / (ends[-1] - ends[0])
    return LoaderSpeed(num_workers, whole, batches, float(parts.min()), float(parts.max()))


def worker_counts(num_cores: int, configured: int) -> list[int]:
    """List worker counts to measure: 0, powers of two up to the cores, and the configured one.

    Args:
        num_cores: Cores of this machine that may be used.
        configured: `data.loading.num_workers`.
    """
    powers = {2**power for power in range(num_cores.bit_length()) if 2**power <= num_cores}
    return sorted({0, num_cores, *powers, min(configured, 2 * num_cores)})


def free_shared_memory() -> int | None:
    """Count the free bytes of shared memory, for workers' batches; None where there is none."""
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None


def check_storage(results: Iterable[DecodeResult], num_videos: int) -> list[Finding]:
    """Say how large the videos are, and how fast they decode.

    Args:
        results: Decode results.
        num_videos: Videos that are there.
    """
    good = [result for result in results if result.verdict is None and result.decode_seconds > 0]
    if not good:
        return []
    frames = sum(result.num_frames for result in good)
    seconds = sum(result.decode_seconds for result in good)
    mean = sum(result.nbytes for result in good) / len(good)
    about = "" if len(good) == num_videos else "about "
    text = (
        f"The {count_of(num_videos, 'video')} take {about}{readable_bytes(mean * num_videos)} "
        f"({readable_bytes(mean)} and {frames / len(good):,.0f} frames each); one core decodes "
        f"{frames / seconds:,.0f} frames/s, which is {len(good) / seconds:.1f} whole videos/s."
    )
    return [Finding("note", "storage", text)]


def check_loader(speeds: Sequence[LoaderSpeed], configured: int, num_cores: int) -> list[Finding]:
    """Compare the configured number of workers with the best.

    Another number is advised only where enough batches were measured, and the slowest part of its
    measurement was faster than the fastest of the configured one.

    Args:
        speeds: The measured speeds.
        configured: `data.loading.num_workers`.
        num_cores: Cores that may be used.
    """
    if not speeds:
        return []
    if configured > num_cores:
        text = (
            "More workers than cores wait for each other, and "
            f"data.loading.num_workers={configured} is more than the {num_cores} that may be used "
            "here: set no more than that."
        )
        return [Finding("warning", "workers", text)]
    few = [speed for speed in speeds if not speed.is_enough]
    if few:
        text = (
            f"In the time of --measure only {count_of(few[0].batches, 'batch', 'batches')} came "
            f"from {count_of(few[0].num_workers, 'worker')}: too few to advise a number of "
            "workers; measure longer, such as with --measure 30."
        )
        return [Finding("note", "workers", text)]
    # without workers nothing is loaded while the network computes, however fast it is alone
    beside = [speed for speed in speeds if speed.num_workers] or speeds
    best = max(speed.clips_per_second for speed in beside)
    advised = next(speed for speed in beside if speed.clips_per_second >= ENOUGH * best)
    ours = next((speed for speed in speeds if speed.num_workers == configured), None)
    says = f"{advised.clips_per_second:.1f} clips/s with {count_of(advised.num_workers, 'worker')}"
    if ours is not None and ours.clips_per_second < SLOW * best and ours.fastest < advised.slowest:
        text = (
            f"The loader gave {ours.clips_per_second:.1f} clips/s with the configured "
            f"{count_of(configured, 'worker')}, but {says}: set "
            f"data.loading.num_workers={advised.num_workers}."
        )
        return [Finding("warning", "workers", text)]
    text = (
        f"The loader gave {says} on {count_of(num_cores, 'core')}: training cannot be faster than "
        "that, on whatever device."
    )
    return [Finding("note", "workers", text)]


def batch_bytes(spec: InputSpec, batch_size: int) -> int:
    """Compute the bytes of a training batch of clips.

    Args:
        spec: Sampling and crops of the clips.
        batch_size: Clips.
    """
    return batch_size * 3 * spec.sampling.clip_len * spec.crops.size**2


def check_shared_memory(free: int | None, per_batch: int, num_workers: int) -> list[Finding]:
    """Check that the workers' batches fit into shared memory.

    Args:
        free: Free bytes; None where there is no shared memory.
        per_batch: Bytes of a batch.
        num_workers: Worker processes.
    """
    needed = num_workers * (PREFETCHED + 1) * per_batch
    if free is None or not needed:
        return []
    sizes = f"{readable_bytes(needed)} of batches, /dev/shm has {readable_bytes(free)} free"
    if needed > free:
        text = (
            f"{count_of(num_workers, 'worker')} may hold {sizes}: the loader dies with a bus "
            "error; give the container more (docker run --shm-size=8g), or lower "
            "data.loading.num_workers or data.loading.batch_size."
        )
        return [Finding("warning", "shared memory", text)]
    text = f"{count_of(num_workers, 'worker')} may hold {sizes}: enough."
    return [Finding("note", "shared memory", text)]


def readable_bytes(count: float) -> str:
    """Format a number of bytes for a person, such as "1.4 GB".

    Args:
        count: Bytes.
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
