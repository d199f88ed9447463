"""Do the intervals and tests of `kinetoscope compare` hold what they say? Simulated studies.

In each of 48 settings many data sets are drawn from a model that the estimators know nothing of:
whether a run has a video right is a threshold on a sum of normal effects - of the video's group, of
the video, of model and group, of model and video, of the run, of the run and group, and noise. Two
models are tested on the same videos, once equally good and once with a true gain, and the functions
behind `kinetoscope compare` are called on each data set.

    uv run python benchmarks/compare_simulation.py --folder runs/compare_simulation

A finished setting is a file in the folder and is not computed again. The table is printed as
Markdown; exit code 1 if a figure is outside its range.

Columns: share of 95 % intervals that hold the true accuracy and the true gain; share of data sets
with p < 0.05 where both models are equally good, and where the gain is 2.8 standard errors, so
that a test that knew the true standard error would find 80 %. The simple test is chosen by one who
knows the setting: McNemar's exact test for one run and no groups, Student's t over videos or groups
where runs do not differ, Welch's t over the runs' accuracies where they do. The last is wrong where
models are good at other videos, since all runs of a model meet the same ones; its own false
positives stand beside it. In brackets: 95 % Monte Carlo intervals.
"""

import argparse
import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from lightning_modules.evaluation.intervals import Gain, gain_of, mcnemar_p, share_interval
from lightning_modules.evaluation.variance import Groups, components, mean_over_videos

Floats = NDArray[np.floating]

GROUP_SHARES = (0.60, 0.25, 0.15)
"""Of a group's effect: common to the models, the model's own, the run's own."""

VIDEO_SHARES = (0.45, 0.20, 0.35)
"""Likewise of a video's."""

GAIN = 2.8
"""True gain where power is measured, in standard errors."""

FEW = 10
"""Fewer expected errors, or videos that one model alone has right, make a corner."""


@dataclass(frozen=True)
class Setting:
    """What is simulated.

    Attributes:
        accuracy: True accuracy of both models.
        videos: N.
        correlation: Correlation of being right within a group; 0 for no groups.
        spread: Standard deviation of a model's true accuracy over its runs, in points.
        runs: Runs of each model.
        lopsided: True if only the second model's runs differ.
    """

    accuracy: float
    videos: int
    correlation: float
    spread: float
    runs: int
    lopsided: bool = False

    @property
    def name(self) -> str:
        """Name of its file."""
        parts = f"a{100 * self.accuracy:g}_n{self.videos}_c{self.correlation:g}"
        return f"{parts}_s{self.spread:g}_r{self.runs}{'_lopsided' * self.lopsided}"


SETTINGS = [
    Setting(*values)
    for values in (
        (0.50, 100, 0, 0, 1),
        (0.50, 1000, 0.35, 0, 1),
        (0.70, 100, 0, 0, 1),
        (0.70, 1000, 0, 0, 1),
        (0.70, 1000, 0.15, 0, 1),
        (0.70, 4000, 0.35, 0, 1),
        (0.80, 4000, 0.5, 0, 1),
        (0.90, 300, 0, 0, 1),
        (0.90, 1000, 0.35, 0, 1),
        (0.90, 20000, 0.15, 0, 1),
        (0.95, 1000, 0, 0, 1),
        (0.97, 4000, 0.35, 0, 1),
        (0.99, 100, 0, 0, 1),
        (0.99, 1000, 0.15, 0, 1),
        (0.50, 300, 0, 1.5, 1),
        (0.70, 1000, 0, 0.7, 1),
        (0.70, 1000, 0, 1.5, 1),
        (0.70, 4000, 0.35, 0.7, 1),
        (0.90, 1000, 0.15, 0.7, 1),
        (0.90, 20000, 0, 0.7, 1),
        (0.50, 100, 0, 0, 3),
        (0.50, 1000, 0, 0.7, 3),
        (0.50, 4000, 0.35, 1.5, 3),
        (0.70, 100, 0.35, 0, 3),
        (0.70, 300, 0, 0, 3),
        (0.70, 1000, 0, 0, 3),
        (0.70, 1000, 0, 0.7, 3),
        (0.70, 1000, 0.15, 1.5, 3),
        (0.70, 1000, 0.35, 0.7, 3),
        (0.70, 4000, 0.35, 0.3, 3),
        (0.70, 4000, 0.5, 0, 3),
        (0.80, 20000, 0.15, 0.7, 3),
        (0.90, 300, 0.15, 0.7, 3),
        (0.90, 1000, 0.35, 0, 3),
        (0.90, 4000, 0, 1.5, 3),
        (0.95, 1000, 0.15, 0.7, 3),
        (0.95, 20000, 0.35, 0.3, 3),
        (0.99, 100, 0, 0, 3),
        (0.99, 4000, 0.15, 0.3, 3),
        (0.50, 1000, 0.35, 0.7, 5),
        (0.70, 300, 0, 1.5, 5),
        (0.70, 1000, 0, 0, 5),
        (0.70, 4000, 0.35, 0.7, 5),
        (0.90, 1000, 0, 0.7, 5),
        (0.90, 4000, 0.5, 1.5, 5),
        (0.95, 1000, 0.35, 0, 5),
        (0.95, 20000, 0, 0.3, 5),
        (0.99, 1000, 0.15, 0.3, 5),
    )
]

BEYOND = [
    Setting(*values)
    for values in (
        (0.70, 1000, 0, 0, 2),
        (0.70, 1000, 0, 0.7, 2),
        (0.70, 1000, 0, 1.5, 2),
        (0.90, 4000, 0.35, 0.7, 2),
        (0.70, 1000, 0, 0.7, 3, True),
        (0.70, 1000, 0, 1.5, 3, True),
        (0.70, 1000, 0, 1.5, 5, True),
    )
]
"""Two runs of each model, or runs of only one that differ, of which nothing is promised."""


class World:
    """The model that data sets of a setting are drawn from."""

    def __init__(self, setting: Setting, rng: np.random.Generator) -> None:
        self.setting = setting
        self.rng = rng
        effect = _run_effect(setting.accuracy, setting.spread / 100)
        self.run_effect = np.array([[0.0 if setting.lopsided else effect], [effect]])
        self.threshold = self.threshold_of(setting.accuracy)
        self.group_share = _group_share(float(self.threshold[1, 0]), setting.correlation)
        self.names = np.arange(setting.videos)
        if setting.correlation:
            sizes = 1 + rng.poisson(4, size=setting.videos)
            self.names = np.repeat(np.arange(setting.videos), sizes)[: setting.videos]
        self.groups = Groups.of(self.names)

    def threshold_of(self, *accuracy: float) -> Floats:
        """Find the thresholds that make both models so good over their runs, (2, 1)."""
        aims = np.array(accuracy)[:, None]
        return np.asarray(ndtri(aims) * np.sqrt(1 + self.run_effect**2))

    def draw(self) -> tuple[Floats, Floats]:
        """Draw the videos' effects on both models, (2, N, S), and the runs' effects, (2, S)."""
        runs = self.setting.runs

        def normal(shape: tuple[int, ...]) -> Floats:
            return self.rng.standard_normal(shape, dtype=np.float32)

        group, video = (
            np.sqrt(share * np.array(parts, dtype=np.float32))
            for share, parts in (
                (self.group_share, GROUP_SHARES),
                (1 - self.group_share, VIDEO_SHARES),
            )
        )
        effects = video[2] * normal((2, self.setting.videos, runs))
        effects += video[1] * normal((2, self.setting.videos, 1))
        effects += video[0] * normal((1, self.setting.videos, 1))
        if self.setting.correlation:
            count = len(self.groups.sizes)
            grouped = group[2] * normal((2, count, runs)) + group[1] * normal((2, count, 1))
            effects += (grouped + group[0] * normal((1, count, 1)))[:, self.groups.index]
        return effects, self.run_effect * normal((2, runs))


def _run_effect(accuracy: float, spread: float) -> float:
    """Find the latent standard deviation of runs that spreads their accuracies so far."""
    if spread == 0:
        return 0.0
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def excess(effect: float) -> float:
        values = ndtr(ndtri(accuracy) * math.sqrt(1 + effect**2) + effect * points)
        return float(np.sqrt(weights @ (values - weights @ values) ** 2) - spread)

    return float(brentq(excess, 0, 3))


def _group_share(threshold: float, correlation: float) -> float:
    """Find the latent share of the group at which right answers correlate so much."""
    points, weights = np.polynomial.hermite_e.hermegauss(100)
    weights, mean = weights / weights.sum(), ndtr(threshold)

    def excess(share: float) -> float:
        given = ndtr((threshold + math.sqrt(share) * points) / math.sqrt(1 - share))
        return float((weights @ given**2 - mean**2) / (mean * (1 - mean)) - correlation)

    return float(brentq(excess, 0, 0.99)) if correlation else 0.0


Test = Callable[[Floats, Floats, World], float]
"""Takes which videos the runs of both models have right, (N, S) each; returns p."""


def _over_runs(first: Floats, other: Floats, world: World) -> float:
    return float(stats.ttest_ind(first.mean(0), other.mean(0), equal_var=False).pvalue)


def _over_groups(first: Floats, other: Floats, world: World) -> float:
    gains = np.bincount(world.groups.index, (other - first).mean(axis=1))
    return float(stats.ttest_1samp(gains, 0).pvalue) if gains.any() else 1.0


def _mcnemar(first: Floats, other: Floats, world: World) -> float:
    return mcnemar_p(int((first > other).sum()), int((other > first).sum()))


def simple_test(setting: Setting) -> tuple[str, Test]:
    """Choose the simple test of one who knows the setting."""
    if setting.spread and setting.runs > 1:
        return "t over runs", _over_runs
    if setting.correlation or setting.runs > 1:
        return f"t over {'groups' if setting.correlation else 'videos'}", _over_groups
    return "McNemar", _mcnemar


COUNTED = ("accuracy", "accuracy_of_method", "gain", "false", "power", "power_of_runs")
COUNTED += ("simple", "simple_power")


def simulate(setting: Setting, data_sets: int) -> dict[str, float]:
    """Count over data sets what the tool says."""
    rng = np.random.default_rng(zlib.crc32(setting.name.encode()))
    world = World(setting, rng)
    _, test = simple_test(setting)
    state = rng.bit_generator.state
    error, discordant = _pilot(world, min(data_sets, 500))
    rng.bit_generator.state = state
    gain = min(GAIN * error, 1.98 * (1 - setting.accuracy))
    bounds = world.threshold_of(setting.accuracy - gain / 2, setting.accuracy + gain / 2)
    counts = dict.fromkeys(COUNTED, 0)
    for _ in range(data_sets):
        effects, runs = world.draw()
        first, other = (effects + (world.threshold + runs)[:, None] > 0).astype(float)
        share = share_interval(components(mean_over_videos(first), world.groups), world.groups)
        of_runs = ndtr(world.threshold + runs)  # (2, S)
        alone = setting.runs == 1
        truth = float(of_runs[0, 0]) if alone else setting.accuracy
        counts["accuracy"] += share.low <= truth <= share.high
        counts["accuracy_of_method"] += share.low <= setting.accuracy <= share.high
        found = gain_of(mean_over_videos(other), mean_over_videos(first), world.groups)
        difference = float(of_runs[1, 0] - of_runs[0, 0]) if alone else 0.0
        counts["gain"] += found.estimate.low <= difference <= found.estimate.high
        counts["false"] += _said(found) < 0.05
        counts["simple"] += test(first, other, world) < 0.05
        first, other = (effects + (bounds + runs)[:, None] > 0).astype(float)
        better = other.mean() > first.mean()
        found = gain_of(mean_over_videos(other), mean_over_videos(first), world.groups)
        counts["power"] += better and _said(found) < 0.05
        counts["power_of_runs"] += better and found.runs_p < 0.05
        counts["simple_power"] += better and test(first, other, world) < 0.05
    return {**{k: float(v) for k, v in counts.items()}, "discordant": discordant, "gain_is": gain}


def _said(found: Gain) -> float:
    """Take the p of the methods where the tool gives one, else that of the very runs."""
    return found.runs_p if found.methods_p is None else found.methods_p


def _pilot(world: World, data_sets: int) -> tuple[float, float]:
    """Find the standard error of the gain, and how many videos one of two runs alone has right."""
    gains, discordant = [], []
    for _ in range(data_sets):
        effects, runs = world.draw()
        first, other = effects + (world.threshold + runs)[:, None] > 0
        gains.append(float(other.mean() - first.mean()))
        discordant.append(float((first != other).sum(axis=0).mean()))
    return float(np.std(gains)), float(np.mean(discordant))


def share_of(count: float, data_sets: int) -> tuple[float, float, float]:
    """Compute a share of the data sets and its Wilson interval, in percent."""
    middle, square = count / data_sets, 1.96**2 / data_sets
    centre = (middle + square / 2) / (1 + square)
    half = math.sqrt(square * middle * (1 - middle) + square**2 / 4) / (1 + square)
    return 100 * middle, 100 * (centre - half), 100 * (centre + half)


@dataclass(frozen=True)
class Result:
    """What was counted in a setting.

    Attributes:
        setting: The setting.
        data_sets: How many were drawn.
        counts: See `simulate`.
    """

    setting: Setting
    data_sets: int
    counts: dict[str, float]

    @property
    def withheld(self) -> bool:
        """True where runs differ and one run cannot know."""
        return self.setting.runs == 1 and self.setting.spread > 0

    def outside(self) -> Iterator[str]:
        """Name the figures that are outside their range."""
        errors = self.setting.videos * (1 - self.setting.accuracy)
        figures = [("accuracy", errors), ("gain", self.counts["discordant"])]
        for name, expected in figures:
            value = 100 * self.counts[name] / self.data_sets
            if value < (91 if expected < FEW else 93) or (expected >= FEW and value > 97):
                yield f"{name} {value:.1f}"
        value, corner = 100 * self.counts["false"] / self.data_sets, figures[1][1] < FEW
        if not self.withheld and (value > 7 or (value < 3 and not corner)):
            yield f"false {value:.1f}"

    def row(self) -> list[str]:
        """Write the row of the table."""
        cell, n = self.setting, self.data_sets

        def figure(name: str) -> str:
            value, low, high = share_of(self.counts[name], n)
            return f"{value:.1f} [{low:.1f}, {high:.1f}]"

        label = simple_test(cell)[0]
        power = f"{100 * self.counts['power'] / n:.0f}"
        if cell.runs > 1 and cell.spread == 0:
            power += f" (these runs: {100 * self.counts['power_of_runs'] / n:.0f})"
        simple = f"{label}: {100 * self.counts['simple_power'] / n:.0f}"
        invalid = f" (false: {100 * self.counts['simple'] / n:.1f})"
        method, false = (100 * self.counts[name] / n for name in ("accuracy_of_method", "false"))
        holds, said = figure("accuracy"), figure("false")
        if self.withheld:
            holds += f" (the method's: {method:.1f})"
            said = f"one run cannot know (of the methods: {false:.1f})"
        return [
            *(f"{100 * cell.accuracy:g}", f"{cell.videos:,}", f"{cell.correlation:g}"),
            *(
                f"{cell.spread:g}{' of one' * cell.lopsided}",
                str(cell.runs),
                holds,
                figure("gain"),
                said,
            ),
            f"{100 * self.counts['gain_is']:.2f}",
            "" if self.withheld else power,
            "" if self.withheld else simple + invalid,
        ]


HEADINGS = (
    *("top-1", "videos", "corr.", "spread", "runs", "holds the accuracy", "holds the gain"),
    *("false positives", "gain", "power", "simple test"),
)


def result_of(setting: Setting, data_sets: int, folder: Path) -> Result:
    """Simulate a setting, or read its file."""
    path = folder / f"{setting.name}.json"
    wanted = {"setting": asdict(setting), "data_sets": data_sets}
    if path.is_file():
        stored = json.loads(path.read_text())
        if {key: stored[key] for key in wanted} == wanted:
            return Result(setting, data_sets, stored["counts"])
    counts = simulate(setting, data_sets)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({**wanted, "counts": counts}))
    part.replace(path)
    return Result(setting, data_sets, counts)


def main(words: Sequence[str] | None = None) -> None:
    """Simulate all settings and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/compare_simulation"))
    parser.add_argument("--data_sets", type=int, default=2000, help="in each setting")
    parser.add_argument("--only", default="", help="settings whose name holds this")
    options = parser.parse_args(words)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    outside = []
    for setting in SETTINGS + BEYOND:
        if options.only not in setting.name:
            continue
        result = result_of(setting, options.data_sets, options.folder)
        print(f"| {' | '.join(result.row())} |", flush=True)
        if setting in SETTINGS:
            outside += [f"{setting.name}: {figure}" for figure in result.outside()]
    if outside:
        raise SystemExit("outside the stated ranges: " + "; ".join(outside))


if __name__ == "__main__":
    main()
