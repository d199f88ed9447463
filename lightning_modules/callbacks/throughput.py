"""Throughput: clips per second of a fit, with and without the time that it waits for data."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules import VideoBatch, VideoDataModule
from datamodules.jobs.processes import num_cores
from datamodules.stopwatch import PARTS, Part
from lightning_modules.console import say

ENOUGH = 0.1
"""Share of the time that a fit may wait for data before a cure is named."""

_WARM_UP, _LEAST_SECONDS = 5, 3.0
"""Steps that are not counted in what is said once, and the least time that it is said from."""

_CURES: Mapping[Part, str] = {
    "open": "Videos of few files, or a faster disk, open sooner",
    "read": "A faster disk, or a copy of the videos on this machine, is read sooner",
    "decode": "`kinetoscope transcode` makes videos that decode in a fraction of the time",
    "convert": "`kinetoscope transcode` makes videos with fewer pixels to convert",
    "resize": "`kinetoscope transcode` makes videos with fewer pixels to resize",
}


class Mark(Protocol):
    """A moment on the clock of a device, as `torch.Event` has it."""

    def record(self) -> None:
        """Note it, once all that was asked of the device before is done."""
        ...

    def query(self) -> bool:
        """Return True once it has come."""
        ...

    def elapsed_time(self, end: Any) -> float:
        """Count the milliseconds up to a later one."""
        ...


class HostMark:
    """A moment on the clock of a device that computes at once: this process."""

    def record(self) -> None:
        """Note it."""
        self.moment = time.perf_counter()

    def query(self) -> bool:
        """Return True."""
        return True

    def elapsed_time(self, end: Self) -> float:
        """Count the milliseconds up to a later one."""
        return 1000 * (end.moment - self.moment)


@dataclass(frozen=True)
class Pace:
    """Steps that were measured.

    Attributes:
        clips: Their clips.
        seconds: Time from the end of the step before them to their own.
        waited: Part of it in which no step was under way.
    """

    clips: int
    seconds: float
    waited: float

    @property
    def share_waited(self) -> float:
        """Share of the time in which no step was under way."""
        return self.waited / self.seconds

    @property
    def rate(self) -> float:
        """Clips per second."""
        return self.clips / self.seconds

    @property
    def headroom(self) -> float:
        """Clips per second, if nothing was waited for."""
        return self.clips / max(1e-9, self.seconds - self.waited)


class StepClock:
    """Times of steps on the device's own clock, for which this process never waits.

    Args:
        make_mark: Makes a moment that is not yet noted.
    """

    def __init__(self, make_mark: Callable[[], Mark]) -> None:
        self._make_mark = make_mark
        self._steps: deque[tuple[Mark, Mark, int]] = deque()
        self._begun: Mark | None = None
        self._last: Mark | None = None

    def begin(self) -> None:
        """Note that a step begins."""
        self._begun = self._noted()

    def end(self, clips: int) -> None:
        """Note that it ends."""
        if self._begun is not None:
            self._steps.append((self._begun, self._noted(), clips))

    def take(self) -> Pace | None:
        """Measure the steps that are done since the last call; None if there is no time between."""
        clips, seconds, waited = 0, 0.0, 0.0
        while self._steps and self._steps[0][1].query():
            begun, ended, number = self._steps.popleft()
            if self._last is not None:
                clips += number
                seconds += self._last.elapsed_time(ended) / 1000
                waited += self._last.elapsed_time(begun) / 1000
            self._last = ended
        return Pace(clips, seconds, waited) if seconds > 0 else None

    def _noted(self) -> Mark:
        mark = self._make_mark()
        mark.record()
        return mark


def clock_of(device: torch.device) -> StepClock:
    """Make the clock of a device."""
    if device.type == "cuda":
        return StepClock(_cuda_mark)
    return StepClock(HostMark)


def _cuda_mark() -> Mark:
    mark: Mark = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return mark


class Throughput(Callback):
    """A callback that logs clips per second over all devices, and the share of waiting for data.

    Once, after the first steps, it says what the fit would reach without waiting, which is what it
    reaches on a batch that is there already; on what the loader's processes spend their time; and
    the cheapest cure. A validation is left out.

    Args:
        every_n_steps: Batches that one measurement averages over.
    """

    def __init__(self, every_n_steps: int = 20) -> None:
        self.every_n_steps = every_n_steps
        self._seconds: dict[Part, float] = defaultdict(float)
        self._batches = 0
        self._said = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure, perhaps in the middle of an epoch."""
        self._clock = clock_of(pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure; validation time is not training time."""
        self._clock = clock_of(pl_module.device)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew after a validation in the middle of an epoch."""
        self._clock = clock_of(pl_module.device)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note that the batch is there."""
        self._clock.begin()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        """Count, and log every few batches."""
        self._clock.end(len(batch["label"]))
        self._batches += 1
        for part, seconds in batch.get("seconds", {}).items():
            self._seconds[part] += seconds
        if self._batches % self.every_n_steps == 0 or trainer.is_last_batch:
            pace = self._clock.take()
            if pace is not None:
                pl_module.log("train/clips_per_second", pace.rate * trainer.world_size)
                pl_module.log("train/headroom", pace.headroom * trainer.world_size)
                pl_module.log("train/data_wait", pace.share_waited)
                self._say(trainer, pace)

    def _say(self, trainer: Trainer, pace: Pace) -> None:
        """Say it once, of the first measurement that is long enough and not the very first."""
        is_warm = self._batches > max(_WARM_UP, self.every_n_steps)
        if self._said or not is_warm or pace.seconds < _LEAST_SECONDS:
            return
        self._said = True
        data = getattr(trainer, "datamodule", None)
        workers = data.loading.num_workers if isinstance(data, VideoDataModule) else None
        cores = num_cores() // max(1, trainer.num_devices)
        say(headroom_sentence(pace, self._seconds, workers, cores, trainer.world_size))


def headroom_sentence(
    pace: Pace, seconds: Mapping[Part, float], workers: int | None, cores: int, devices: int
) -> str:
    """Say how fast a fit is, how fast it could be, and what would make it so.

    Args:
        pace: Steps of one device.
        seconds: What each part of loading took.
        workers: Loader processes of a device; None where nobody knows.
        cores: Cores for each device.
        devices: Number of devices.
    """
    said = f"{_digits(pace.rate * devices)} clips/s"
    if pace.share_waited < ENOUGH:
        return f"{said}, {pace.share_waited:.0%} of the time waiting for data"
    said += (
        f"; {_digits(pace.headroom * devices)} without waiting for data, "
        f"{pace.share_waited:.0%} of the time"
    )
    spent = {part: seconds[part] for part in PARTS if seconds.get(part)}
    total = sum(spent.values())
    if not total:
        return said
    named = sorted(spent, key=lambda part: -spent[part])[:4]
    shares = ", ".join(f"{part} {spent[part] / total:.0%}" for part in named)
    return f"{said}. Loading: {shares}. {_cure(named[0], workers, cores)}"


def _cure(part: Part, workers: int | None, cores: int) -> str:
    """Name the cheapest cure."""
    if workers is not None and workers < cores:
        return f"More processes may load: data.loading.num_workers={cores}, now {workers}"
    cure = _CURES.get(part)
    if cure is None:
        return "More cores would load faster"
    return cure


def _digits(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
