"""How fast a fit is, how fast it could be, and what is said about it."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from command_line import fit

from datamodules import MotionShapesDataModule
from datamodules.batch import collate_videos
from datamodules.stopwatch import PARTS, during, running, stopwatch
from lightning_modules.callbacks import throughput
from lightning_modules.callbacks.throughput import Pace, StepClock, headroom_sentence


class DeviceMark:
    """A moment of a device that is behind this process."""

    def __init__(self, moments: list[float], now: list[float]) -> None:
        self.moments, self.now = moments, now

    def record(self) -> None:
        self.moment = self.moments.pop(0)

    def query(self) -> bool:
        return self.moment <= self.now[0]

    def elapsed_time(self, end: "DeviceMark") -> float:
        return 1000 * (end.moment - self.moment)


def clock_at(moments: Sequence[float], now: list[float]) -> StepClock:
    left = list(moments)
    return StepClock(lambda: DeviceMark(left, now))


def test_steps_are_measured_on_the_clock_of_the_device() -> None:
    now = [4.0]
    clock = clock_at([0, 1, 3, 4, 4.5, 5], now)  # begin and end of three steps
    for _ in range(3):
        clock.begin()
        clock.end(8)
    pace = clock.take()
    assert pace == Pace(clips=8, seconds=3.0, waited=2.0)  # the third is not done yet
    assert pace is not None
    assert (pace.rate, pace.headroom, pace.share_waited) == (8 / 3, 8.0, 2 / 3)
    assert clock.take() is None
    now[0] = 5.0
    assert clock.take() == Pace(clips=8, seconds=1.0, waited=0.5)


def test_sentence_names_the_cheapest_cure() -> None:
    slow, fast = Pace(800, 10.0, 6.0), Pace(800, 10.0, 0.5)
    spent = {"decode": 6.0, "resize": 3.0, "read": 1.0}
    said = headroom_sentence(slow, spent, 2, 8, 2)
    assert said == (
        "160 clips/s; 400 without waiting for data, 60% of the time. Loading: decode 60%, "
        "resize 30%, read 10%. More processes may load: data.loading.num_workers=8, now 2"
    )
    assert headroom_sentence(slow, spent, 8, 8, 1).endswith("decode in a fraction of the time")
    assert "faster disk" in headroom_sentence(slow, {"read": 1.0}, 8, 8, 1)
    assert headroom_sentence(slow, {}, None, 8, 1).endswith("60% of the time")
    said = headroom_sentence(fast, spent, 2, 8, 1)
    assert said == "80 clips/s, 5% of the time waiting for data"


def test_parts_do_not_count_what_lies_within_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 4.0, 6.0])
    monkeypatch.setattr("datamodules.stopwatch.perf_counter", lambda: next(now))
    with stopwatch() as seconds, during("rest"), during("open"):
        running()["read"] += 0.5
    assert seconds == {"read": 0.5, "open": 2.5, "rest": 3.0}
    assert running() is not seconds


def test_every_part_of_loading_is_timed(motion_root: Path) -> None:
    data = MotionShapesDataModule(str(motion_root), num_train=64, num_val=16, num_test=16)
    data.setup()
    assert data.train_set[4]["valid"]  # what is done once only is not timed below
    batch = collate_videos([data.train_set[i] for i in range(4)])
    batch = data.transfer_batch_to_device(batch, torch.device("cpu"), 0)
    assert set(batch["seconds"]) == set(PARTS)
    assert all(seconds > 0 for seconds in batch["seconds"].values())


def test_fit_says_it_once_and_logs_it(
    motion_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(throughput, "_LEAST_SECONDS", 0.0)
    more = ["--trainer.limit_train_batches=30", "--data.loading.batch_size=2"]
    fit(motion_root, tmp_path, *more, "--trainer.log_every_n_steps=1", "--trainer.max_epochs=2")
    said = [line for line in capsys.readouterr().out.splitlines() if "clips/s" in line]
    assert len(said) == 1
    assert "waiting for data" in said[0]
    with (tmp_path / "debug" / "0" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/headroom"]]
    assert rows
    for row in rows:
        rate, headroom = float(row["train/clips_per_second"]), float(row["train/headroom"])
        assert headroom * (1 - float(row["train/data_wait"])) == pytest.approx(rate, rel=1e-4)
