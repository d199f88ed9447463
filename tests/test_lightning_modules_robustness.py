"""A series of tests over corruptions: what is run, what not again, and what it sums up to."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules import MotionShapesDataModule
from datamodules.clips.corruptions.catalogue import parse_corruptions
from datamodules.errors import UserError
from datamodules.settings import Evaluation
from lightning_modules.callbacks.score_file import name_of_test
from lightning_modules.cli import main
from lightning_modules.robustness.series import run_series
from lightning_modules.robustness.summary import Outcome, Robustness, absolute, relative

VIDEOS = 20


def outcomes(words: str, accuracy: float) -> list[Outcome]:
    return [Outcome(one, accuracy, Path(f"{one}.npz")) for one in parse_corruptions(words)]


def test_robustness_is_that_of_the_paper() -> None:
    assert absolute(80, 60) == pytest.approx(0.8)
    assert relative(80, 60) == pytest.approx(0.75)
    assert relative(0, 5) is None
    # jpeg has one severity here and shot noise five; both count alike
    found = Robustness(80, [*outcomes("jpeg@5", 60), *outcomes("shot_noise", 20)])
    assert found.families == ["noise", "digital"]
    assert found.accuracy() == 40
    assert found.accuracy("noise") == 20
    assert found.sentence() == (
        "plain top-1 80.00 %, mean of 6 corrupted test(s) 40.00 % (noise 20.00 %, digital "
        "60.00 %): absolute robustness 0.600, relative 0.500"
    )
    assert "relative not defined at 0 %" in Robustness(0, outcomes("jpeg@5", 60)).sentence()


class Rig:
    """A stand-in for tests of a network: it is right on plain clips, and on some of the others."""

    def __init__(self, data: MotionShapesDataModule, folder: Path) -> None:
        self.data, self.folder = data, folder
        self.run: list[str] = []
        self.protocol: dict[str, Any] = {"weights": "5a", "commit": "1"}
        self.before: Callable[[str], object] = lambda _: None

    def __call__(self) -> None:
        name = str(self.data.probe)
        self.before(name)
        self.run.append(name)
        right = VIDEOS if name == "None" else VIDEOS // 2 if "jpeg" in name else VIDEOS // 4
        labels = np.arange(VIDEOS) % 2
        guesses = np.where(np.arange(VIDEOS) < right, labels, 1 - labels)
        protocol = {
            **self.protocol,
            "probe": None if name == "None" else name,
            "probe_seed": None if name == "None" else self.data.evaluation.probe_seed,
        }
        np.savez(
            self.folder / f"scores_{name_of_test(self.data)}.npz",
            video_ids=np.array([f"v{i}" for i in range(VIDEOS)]),
            labels=labels,
            logits=np.eye(2)[guesses][:, None],
            class_names=np.array(["a", "b"]),
            protocol=np.array(json.dumps(protocol)),
        )


@pytest.fixture
def tests(motion_root: Path, tmp_path: Path) -> Rig:
    evaluation = Evaluation(corruptions="jpeg@5,speckle_noise")
    sizes = {"num_train": 64, "num_val": 16, "num_test": 16}
    data = MotionShapesDataModule(str(motion_root), **sizes, evaluation=evaluation)
    data.setup("test")
    return Rig(data, tmp_path)


def series(tests: Rig) -> list[str]:
    """What one call of the command runs."""
    tests.run.clear()
    run_series(tests.data, tests.folder, tests)
    return list(tests.run)


SPECKLE = [f"speckle_noise@{severity}" for severity in range(1, 6)]
STEM = "robustness_test_1x1_jpeg@5+speckle_noise"


def test_finished_tests_are_not_run_again(
    tests: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert series(tests) == ["None", *SPECKLE, "jpeg@5"]
    said = capsys.readouterr().out
    assert "robustness: the plain test, then 6 of corrupted clips" in said
    assert "2 of 6: speckle_noise@2, 0 s left" in said
    assert "plain top-1 100.00 %, mean of 6 corrupted test(s) 37.50 %" in said
    rows = list(csv.DictReader((tmp_path / f"{STEM}.csv").read_text().splitlines()))
    assert [row["corruption"] for row in rows] == ["none", *["speckle_noise"] * 5, "jpeg"]
    assert rows[6] == {
        "family": "digital",
        "corruption": "jpeg",
        "severity": "5",
        "parameter": "7",
        "top1": "50.0000",
        "absolute": "0.500000",
        "relative": "0.500000",
        "scores": "scores_test_1x1_jpeg-5.npz",
    }
    assert (tmp_path / f"{STEM}.png").read_bytes().startswith(b"\x89PNG")
    assert series(tests) == ["None"]
    assert "6 of 6 are finished, and not run again" in capsys.readouterr().out
    tests.protocol["weights"] = "6b"  # another checkpoint in the same folder
    assert series(tests) == ["None", *SPECKLE, "jpeg@5"]


def test_stopped_series_goes_on_where_it_stopped(
    tests: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(name: str) -> None:
        if name == "speckle_noise@3":
            raise SystemExit(1)

    tests.before = stop
    with pytest.raises(SystemExit):
        series(tests)
    assert "the same command goes on with the tests that are left" in capsys.readouterr().out
    tests.before = lambda _: None
    assert series(tests) == ["None", *SPECKLE[2:], "jpeg@5"]


def test_series_of_two_things_is_refused(tests: Rig) -> None:
    def change(name: str) -> None:
        if name == "jpeg@5":
            tests.protocol["commit"] = "2"

    tests.before = change
    with pytest.raises(UserError, match=r"in all but jpeg@5, as commit differ, or are not known"):
        series(tests)
    tests.before = lambda _: None
    tests.protocol["weights"] = ""
    with pytest.raises(UserError, match=r"in all but speckle_noise@1, as weights differ"):
        series(tests)


def test_part_of_a_test_is_no_series(tests: Rig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"only a part was tested; leave trainer.limit_test_batch"):
        run_series(tests.data, tmp_path, lambda: None)


def test_series_of_the_command_runs_the_tests_that_single_commands_run(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run_folder / "checkpoints" / "last.ckpt"
    words = ["test", "--config", str(run_folder / "config.yaml"), f"--ckpt_path={checkpoint}"]
    words += ["--trainer.enable_progress_bar=false", "--trainer.limit_test_batches=1.0"]
    together, alone = tmp_path / "together", tmp_path / "alone"
    main([*words, "--data.evaluation.corruptions=sampling@5", f"--out={together}"])
    said = capsys.readouterr().out
    assert "1 of 1: sampling@5" in said
    assert "mean of 1 corrupted test(s)" in said
    main([*words, "--data.evaluation.probe=sampling@5", f"--out={alone}"])
    name = "test_1x1_sampling-5"
    for kind in (f"per_class_{name}.csv", f"confusion_{name}.png"):
        assert (together / kind).read_bytes() == (alone / kind).read_bytes()
    with (
        np.load(together / f"scores_{name}.npz") as one,
        np.load(alone / f"scores_{name}.npz") as b,
    ):
        assert np.array_equal(one["logits"], b["logits"])
        assert json.loads(str(one["protocol"]))["probe_seed"] == 0
    (table,) = together.glob("robustness_*.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    with np.load(together / "scores_test_1x1.npz") as plain:
        right = np.mean(plain["logits"][:, 0].argmax(1) == plain["labels"])
    assert float(rows[0]["top1"]) == pytest.approx(100 * right)
