"""Whether this machine loads clips fast enough: storage, decoding, workers, shared memory."""

from collections.abc import Iterable, Sequence

from datamodules.decoding_probe import Probe
from datamodules.health import Finding, count_of
from datamodules.input_spec import InputSpec
from datamodules.loader_speed import PREFETCHED, LoaderSpeed

ENOUGH = 0.95
"""Share of the best speed that fewer workers may have and still be advised."""

SLOW = 0.8
"""Share of the best speed below which the configured number of workers is a warning."""


def check_storage(probes: Iterable[Probe], num_videos: int) -> list[Finding]:
    """Say how large the videos are, and how fast they decode.

    Args:
        probes: What came of decoding.
        num_videos: Videos that are there.
    """
    good = [probe for probe in probes if probe.verdict is None and probe.decode_seconds > 0]
    if not good:
        return []
    frames = sum(probe.num_frames for probe in good)
    seconds = sum(probe.decode_seconds for probe in good)
    mean = sum(probe.nbytes for probe in good) / len(good)
    about = "" if len(good) == num_videos else "about "
    text = (
        f"The {count_of(num_videos, 'video')} take {about}{readable_bytes(mean * num_videos)} "
        f"({readable_bytes(mean)} and {frames / len(good):,.0f} frames each); one core decodes "
        f"{frames / seconds:,.0f} frames/s, which is {len(good) / seconds:.1f} whole videos/s."
    )
    return [Finding("note", "storage", text)]


def check_loader(speeds: Sequence[LoaderSpeed], configured: int, num_cores: int) -> list[Finding]:
    """Compare the configured number of workers with the best.

    Args:
        speeds: What was measured.
        configured: `data.num_workers`.
        num_cores: Cores that may be used.
    """
    if not speeds:
        return []
    # without workers nothing is loaded while the network computes, however fast it is alone
    beside = [speed for speed in speeds if speed.num_workers] or speeds
    best = max(speed.clips_per_second for speed in beside)
    advised = next(speed for speed in beside if speed.clips_per_second >= ENOUGH * best)
    ours = next((speed for speed in speeds if speed.num_workers == configured), None)
    says = f"{advised.clips_per_second:.1f} clips/s with {count_of(advised.num_workers, 'worker')}"
    if configured > num_cores:
        text = (
            f"More workers than cores wait for each other, and data.num_workers={configured} is "
            f"more than the {num_cores} that may be used here; the loader gave {says}, so set that."
        )
        return [Finding("warning", "workers", text)]
    if ours is not None and ours.clips_per_second < SLOW * best:
        text = (
            f"The loader gave {ours.clips_per_second:.1f} clips/s with the configured "
            f"{count_of(configured, 'worker')}, but {says}: set "
            f"data.num_workers={advised.num_workers}."
        )
        return [Finding("warning", "workers", text)]
    text = (
        f"The loader gave {says} on {num_cores} cores: training cannot be faster than that, on "
        "whatever device."
    )
    return [Finding("note", "workers", text)]


def batch_bytes(spec: InputSpec, batch_size: int) -> int:
    """Bytes of a training batch of clips.

    Args:
        spec: What clips are like.
        batch_size: Clips.
    """
    return batch_size * 3 * spec.sampling.clip_len * spec.transform.size**2


def check_shared_memory(free: int | None, per_batch: int, num_workers: int) -> list[Finding]:
    """Say whether the workers' batches fit into shared memory.

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
            "error; give the container more (docker run --shm-size=8g), or lower data.num_workers "
            "or data.batch_size."
        )
        return [Finding("warning", "shared memory", text)]
    text = f"{count_of(num_workers, 'worker')} may hold {sizes}: enough."
    return [Finding("note", "shared memory", text)]


def readable_bytes(count: float) -> str:
    """A number of bytes for a person, such as "1.4 GB".

    Args:
        count: Bytes.
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
