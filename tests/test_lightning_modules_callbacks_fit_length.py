"""A fit says how many steps it has before it begins, and after a few how long they take."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from command_line import fit
from lightning.pytorch import Trainer

from lightning_modules.base import VideoClassifier
from lightning_modules.callbacks import fit_length
from lightning_modules.callbacks.fit_length import FitLength, duration_in_words, length_sentence


@pytest.mark.parametrize(
    ("total", "per_epoch", "clips", "sentence"),
    [
        (520, 13, 16, "40 epochs of 13 steps of 16 clips: 520 steps in all"),
        (13, 13, None, "1 epoch of 13 steps: 13 steps in all"),
        (1000, 12, 64, "83.3 epochs of 12 steps of 64 clips: 1,000 steps in all"),
        (300, 1, 1, "300 epochs of 1 step of 1 clip: 300 steps in all"),
        (float("inf"), 13, 16, "13 steps of 16 clips an epoch, without an end: stop it with"),
    ],
)
def test_length_is_told_in_epochs_and_steps(
    total: float, per_epoch: int, clips: int | None, sentence: str
) -> None:
    assert length_sentence(total, per_epoch, clips).startswith(sentence)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (89, "89 seconds"),
        (90, "2 minutes"),
        (720, "12 minutes"),
        (5400, "1.5 hours"),
        (36000, "10 hours"),
        (200000, "2.3 days"),
    ],
)
def test_duration_is_rounded_to_what_is_known(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words


class Told:
    """A callback in a fit of 100 steps, by a clock that tests turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.lines = 0.0, list[str]()
        clock = SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(fit_length, "time", clock)
        monkeypatch.setattr(fit_length, "say", self.lines.append)
        state: Any = {"global_step": 0, "sanity_checking": False, "world_size": 2}
        facts = SimpleNamespace(batches_per_epoch=10, batch_size=4)
        self.trainer = SimpleNamespace(
            **state,
            accumulate_grad_batches=1,
            limit_train_batches=1.0,
            max_epochs=10,
            max_steps=-1,
        )
        module = VideoClassifier.__new__(VideoClassifier)
        object.__setattr__(module, "data", facts)
        self.module = module
        self.callback = FitLength()
        self.callback.on_fit_start(cast(Trainer, self.trainer), module)

    def steps(self, number: int, seconds: float) -> None:
        for _ in range(number):
            self.now += seconds
            self.trainer.global_step += 1
            self.callback.on_train_batch_end(
                cast(Trainer, self.trainer), self.module, None, None, 0
            )

    def validation(self, seconds: float) -> None:
        self.now += seconds
        self.callback.on_validation_end(cast(Trainer, self.trainer), self.module)
        self.callback.on_train_epoch_end(cast(Trainer, self.trainer), self.module)


def test_time_is_told_of_the_steps_then_once_more_with_a_validation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(monkeypatch)
    told.steps(1, 50.0)  # the loader starts
    told.steps(4, 3.0)
    assert told.lines == ["10 epochs of 10 steps of 8 clips: 100 steps in all"]
    told.steps(5, 3.0)
    assert told.lines[1:] == ["94 steps left, which take about 5 minutes (validations not counted)"]
    told.validation(27.0)
    assert told.lines[2:] == ["90 steps left, which take about 9 minutes (validations included)"]
    told.steps(10, 3.0)
    told.validation(27.0)
    assert len(told.lines) == 3


def test_epochs_of_few_steps_are_measured_together(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    for _ in range(4):
        told.steps(2, 1.0)
        told.validation(4.0)
    assert told.lines[1:] == ["94 steps left, which take about 4 minutes (validations included)"]


def test_fit_of_a_moment_tells_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    told.steps(100, 0.02)
    assert len(told.lines) == 1


def test_fit_tells_its_length(
    motion_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fit_length, "_FEW_SECONDS", 0.0)
    monkeypatch.setattr(fit_length, "_FEW_STEPS", 1)
    fit(motion_root, tmp_path, "--trainer.max_epochs=2")
    lines = capsys.readouterr().out.splitlines()
    begin = lines.index("2 epochs of 2 steps of 2 clips: 4 steps in all")
    later = [i for i, line in enumerate(lines) if re.match(r"2 steps left, which take", line)]
    assert len(later) == 2
    assert begin < later[0]
    assert "(validations not counted)" in lines[later[0]]
    assert "(validations included)" in lines[later[1]]
