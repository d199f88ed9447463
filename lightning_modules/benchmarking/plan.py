"""The runs of a benchmark, in an order that is fixed before the first one.

Below its folder:

    settings.json                           what all runs have in common, what names stand for
    models/<name>.yaml                      the network, as a layer of a config
    <look>/<way>/<name>/seed_<n>/           a run, with its score file
    .../harder/<axis>_<level>/              its test on clips that are harder to see
    benchmark.json, benchmark.md            the results
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml

from datamodules.atomic import write_atomically
from datamodules.errors import UserError
from datamodules.motion_shapes.rendering import Look
from lightning_modules.benchmarking.entries import CONTROL, Entry
from lightning_modules.benchmarking.thresholds import AXES
from lightning_modules.parsing.config_names import shipped_configs

__all__ = ["WAYS", "Job", "Plan", "Step", "Way", "finished_jobs", "read_settings", "recipe"]

Way = Literal["train", "probe", "as_is"]
WAYS: dict[Way, str] = {
    "train": "the whole network is trained by the one recipe",
    "probe": "its trunk stays as it is, and a linear classifier is trained on the features",
    "as_is": "a checkpoint that knows the eight classes, without any training",
}

SETTINGS = "settings.json"
"""Name of the file that says what all runs have in common."""


_CONTROL = Entry(CONTROL, CONTROL)


def recipe() -> Path:
    """Find the config of the one training."""
    return shipped_configs() / "benchmark.yaml"


@dataclass(frozen=True)
class Job:
    """A run: what, on which clips, in which way.

    Attributes:
        entry: What is benchmarked.
        look: Of the clips.
        way: What is trained.
        seed: Seed of the training.
        folder: Folder of the run.
    """

    entry: Entry
    look: Look
    way: Way
    seed: int
    folder: Path

    @property
    def scores(self) -> Path:
        """The score file of its test, there when the run is done."""
        return self.folder / "scores_test_1x1.npz"

    def harder(self, axis: str, level: float) -> Path:
        """Find the score file of its test on harder clips."""
        if level == AXES[axis].levels[0]:
            return self.scores
        return self.folder / "harder" / f"{axis}_{level:g}" / self.scores.name

    def __str__(self) -> str:
        seed = "" if self.way == "as_is" else f", seed {self.seed}"
        return f"{self.entry.name}, {self.look}, {self.way}{seed}"


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        title: What it is, for the user.
        scores: The score file that it leaves; there when it is done.
        commands: Words of the commands that it takes, each in a process of its own.
    """

    title: str
    scores: Path
    commands: list[list[str]]


@dataclass(frozen=True)
class Plan:
    """The runs of a benchmark, and how each is started.

    Attributes:
        out: Folder of all runs.
        data: Folder of the clips, a folder below it for each look.
        entries: What is benchmarked, beside the control.
        looks: Of the clips.
        ways: What is trained; `as_is` only where a checkpoint knows the classes.
        seeds: Of each training.
        axes: Axes along which trained networks are tested on harder clips, of `AXES`.
        words: Options that every training has beside the recipe's, `--key=value`; the results name
            them.

    Raises:
        UserError: If a word is no such option.
    """

    out: Path
    data: Path
    entries: Sequence[Entry]
    looks: Sequence[Look]
    ways: Sequence[Way]
    seeds: Sequence[int]
    axes: Sequence[str] = ()
    words: Sequence[str] = ()

    def __post_init__(self) -> None:
        wrong = [w for w in self.words if not re.match(r"--(data|model|trainer)\.[\w.]+=", w)]
        if wrong:
            raise UserError(
                f"{wrong[0]!r} behind -- is no option of a training; write --data.KEY=VALUE, "
                "--model.KEY=VALUE or --trainer.KEY=VALUE"
            )
        flowing = [entry.name for entry in self.entries if entry.takes_flow]
        given = any(word.startswith("--data.flow.root=") for word in self.words)
        if flowing and "noise" in self.looks and not given:
            raise UserError(
                f"{flowing[0]} takes optical flow, and the exact flow of noise is not known; leave "
                "it out with --looks shapes"
            )

    def jobs(self) -> Iterator[Job]:
        """List the runs: all looks and entries with the first seed, then with the next one."""
        for seed, look in product(self.seeds, self.looks):
            yield self._job(_CONTROL, look, "train", seed)
            for entry, way in product(self.entries, self.ways):
                if (entry.name, way) == (CONTROL, "train"):
                    continue
                if way != "as_is":
                    yield self._job(entry, look, way, seed)
                elif entry.knows_the_classes and seed == self.seeds[0]:
                    yield self._job(entry, look, way, 0)

    def steps(self) -> Iterator[Step]:
        """List all that is to do: the runs, then their tests on harder clips."""
        for job in self.jobs():
            fit = [] if job.way == "as_is" else [self._fit_words(job)]
            yield Step(str(job), job.scores, [*fit, self._test_words(job)])
        for axis, job in product(self.axes, self.jobs()):
            if job.way == "train":
                for level in AXES[axis].levels[1:]:
                    scores = job.harder(axis, level)
                    title = f"{job}, {axis} {level:g}"
                    yield Step(title, scores, [self._harder_words(job, axis, level)])

    def _all_entries(self) -> list[Entry]:
        return [_CONTROL, *(entry for entry in self.entries if entry.name != CONTROL)]

    def _layer(self, entry: Entry) -> Path:
        return self.out / "models" / f"{entry.name}.yaml"

    def _job(self, entry: Entry, look: Look, way: Way, seed: int) -> Job:
        folder = self.out / look / way / entry.name / f"seed_{seed}"
        return Job(entry, look, way, seed, folder)

    def _data_words(self, job: Job) -> list[str]:
        """Options that say which clips a run sees."""
        return [f"--data.root={self.data / job.look}", f"--data.scene.look={job.look}"]

    def _fit_words(self, job: Job) -> list[str]:
        """Words of the training of a run, which goes on where it was stopped."""
        own = ["--model.frozen=trunk"] if job.way == "probe" else []
        if job.entry.checkpoint is not None:
            own.append(f"--model.init_from={job.entry.checkpoint.resolve()}")
        return [
            *("fit", "--config", str(recipe()), "--config", str(self._layer(job.entry))),
            *self._data_words(job),
            *(*job.entry.model_words, *job.entry.data_words),
            *own,
            *(f"--seed_everything={job.seed}", f"--run.folder={job.folder.parent.parent}"),
            *(f"--run.name={job.entry.name}", f"--run.version={job.folder.name}"),
            *("--ckpt_path", "last"),
            *self.words,
        ]

    def _test_words(self, job: Job) -> list[str]:
        """Words of the test of a run, whose score file lies in its folder."""
        own = job.folder / "checkpoints" / "last.ckpt"
        weights = job.entry.checkpoint if job.way == "as_is" else own
        others = [word for word in self.words if not word.startswith("--model")]  # it is as it was
        return [
            *("test", "--config", str(self._layer(job.entry)), "--trainer.devices=1"),
            *("--data=datamodules.MotionShapesDataModule", "--data.loading.num_workers=2"),
            *(*self._data_words(job), *job.entry.data_words, *others),
            *("--ckpt_path", str(weights), "--out", str(job.folder)),
        ]

    def _harder_words(self, job: Job, axis: str, level: float) -> list[str]:
        """Words of a test of a run on clips that are harder to see."""
        at = f"{level:g}"
        words = self._test_words(job)
        words += [f"--data.root={self.data / f'{job.look}_{axis}_{at}'}"]
        words += [f"--data.{AXES[axis].key}={at}", "--data.num_train=8", "--data.num_val=8"]
        return [*words, "--out", str(job.harder(axis, level).parent)]

    def settle(self) -> None:
        """Note in the folder what its runs have in common and what its names stand for.

        Raises:
            UserError: If the runs that are there were made otherwise, or a name stands for another
                network.
        """
        settings = read_settings(self.out)
        wanted = {
            "recipe": hashlib.sha256(recipe().read_bytes()).hexdigest(),
            "words": list(self.words),
        }
        for name, value in wanted.items():
            if settings.get(name, value) != value:
                raise UserError(
                    f"{self.out} holds a benchmark with {name}={settings[name]}, and {value} was "
                    "asked; give another --out"
                )
        names = settings.get("names", {})
        for entry in self._all_entries():
            if names.setdefault(entry.name, entry.identity) != entry.identity:
                raise UserError(
                    f"{entry.name} stands for another network in {self.out}; give it another name, "
                    f"such as {entry.name}_2={entry.checkpoint or entry.network}"
                )
        (self.out / "models").mkdir(parents=True, exist_ok=True)
        for entry in self._all_entries():
            write_atomically(self._layer(entry), yaml.safe_dump({"model": entry.model}))
        text = json.dumps({**wanted, "names": names}, indent=2)
        write_atomically(self.out / SETTINGS, f"{text}\n")


def read_settings(out: Path) -> dict[str, Any]:
    """Read what the runs of a folder have in common; empty before the first.

    Raises:
        UserError: If the file is no such thing.
    """
    path = out / SETTINGS
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(found["words"], list) or not isinstance(found["names"], dict):
            raise TypeError("words or names of another kind")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not say what the runs beside it have in common ({error}); put it back "
            "as `kinetoscope benchmark` wrote it, or give another --out"
        ) from error
    return found


def finished_jobs(out: Path, look: Look) -> list[Job]:
    """Find the runs of a look in a folder that are done, by whatever commands; the control first.

    Args:
        out: Folder of a benchmark.
        look: Of the clips.
    """
    found = []
    for name, identity in sorted(
        read_settings(out)["names"].items(), key=lambda pair: (pair[0] != CONTROL, pair[0])
    ):
        for way in WAYS:
            folders = {
                int(numbered[1]): folder
                for folder in (out / look / way / name).glob("seed_*")
                if (numbered := re.fullmatch(r"seed_(\d+)", folder.name))
            }
            for seed, folder in sorted(folders.items()):
                found.append(Job(Entry(name, identity["network"]), look, way, seed, folder))
    return [job for job in found if job.scores.exists()]
