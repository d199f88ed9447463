"""The results of a benchmark: what its score files say, as plain values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from datamodules.errors import UserError
from datamodules.motion_shapes.rendering import Look
from lightning_modules.benchmarking.known_answers import BOUND, pair_of, read_known_answers
from lightning_modules.benchmarking.plan import Job, Way, finished_jobs, read_settings
from lightning_modules.benchmarking.thresholds import AXES, fit_curve
from lightning_modules.evaluation.comparison import Comparison, compare
from lightning_modules.evaluation.intervals import Estimate
from lightning_modules.evaluation.score_files import Contest, read_contest
from lightning_modules.evaluation.stored_scores import Floats, read_scores

__all__ = ["LookResults", "Row", "collect", "read_looks", "verdict"]

USES_ORDER = "yes"
NO_BETTER = "not shown"
UNKNOWN = "one run cannot tell"


@dataclass(frozen=True)
class Row:
    """One network in one way; accuracies are fractions.

    Attributes:
        name: Its name.
        network: Name of its network.
        way: What was trained.
        seeds: Seeds of the runs.
        top1: Accuracy of each run.
        mean: Their mean, with the interval over videos and runs.
        pair: Share of clips of which each run names the right pair of motions.
        gain: Mean against the order-blind control's, with its interval; None for the control.
        p: Two-sided p of no difference from the control, between the methods, by Holm's method over
            the networks; None for the control and where one run cannot know.
        verdict: Whether the order of frames is used, as `verdict` has it.
        gmacs: Multiply-adds of a clip, in 1e9.
        scores: Score file of each run, below the folder of the benchmark.
    """

    name: str
    network: str
    way: Way
    seeds: list[int]
    top1: list[float]
    mean: Estimate
    pair: list[float]
    gain: Estimate | None
    p: float | None
    verdict: str
    gmacs: float
    scores: list[str]


@dataclass(frozen=True)
class LookResults:
    """The finished runs of a look.

    Attributes:
        runs: Those of one network and way together, the control's first.
        contest: Their scores.
        comparison: Each against the control.
    """

    runs: list[list[Job]]
    contest: Contest
    comparison: Comparison


def read_looks(out: Path) -> dict[Look, LookResults]:
    """Read all finished runs of a folder, by their look.

    Args:
        out: Folder of a benchmark.
    """
    found: dict[Look, LookResults] = {}
    for look in get_args(Look):
        groups: dict[str, list[Job]] = {}
        for job in finished_jobs(out, look):
            title = job.entry.name if job.way == "train" else f"{job.entry.name}, {job.way}"
            groups.setdefault(title, []).append(job)
        if groups:
            files = {name: [job.scores for job in jobs] for name, jobs in groups.items()}
            contest = read_contest(files)
            found[look] = LookResults(list(groups.values()), contest, compare(contest))
    return found


def collect(out: Path, data: Path, read: Mapping[Look, LookResults]) -> dict[str, Any]:
    """Collect the results of all finished runs of a folder as plain values, for JSON.

    Args:
        out: Folder of a benchmark.
        data: Folder of its clips.
        read: Of `read_looks`.

    Raises:
        UserError: If the clips are not there.
    """
    looks = {look: _look(out, data / look, look, found) for look, found in read.items()}
    settings = read_settings(out)
    common = {"recipe": settings["recipe"], "words": settings["words"]}
    return {"benchmark": "MotionShapes v1", **common, "looks": looks}


def _look(out: Path, clips: Path, look: Look, found: LookResults) -> dict[str, Any]:
    manifest = clips / "manifest.json"
    if not manifest.is_file():
        raise UserError(
            f"{manifest} is missing, and the known answers of the tests are read beside it; give "
            "the folder of the clips with --data"
        )
    axes = {axis: _thresholds(found.runs, axis) for axis in AXES}
    return {
        "clips": json.loads(manifest.read_text())["digest"],
        "videos": len(found.contest.video_ids),
        "known": asdict(read_known_answers(clips, look)),
        "rows": [asdict(_row(out, found, index)) for index in range(len(found.runs))],
        "axes": {axis: tested for axis, tested in axes.items() if tested},
    }


def _row(out: Path, found: LookResults, index: int) -> Row:
    jobs, contest = found.runs[index], found.contest
    contender, first = contest.contenders[index], jobs[0]
    guesses = [run.argmax(axis=1) for run in contender.scores]
    mean = found.comparison.accuracy[index]["top1"]
    paired = found.comparison.against_first[index - 1] if index else None
    return Row(
        name=first.entry.name,
        network=first.entry.network,
        way=first.way,
        seeds=[job.seed for job in jobs],
        top1=[float(np.mean(guess == contest.labels)) for guess in guesses],
        mean=mean,
        pair=[float(np.mean(pair_of(guess) == pair_of(contest.labels))) for guess in guesses],
        gain=None if paired is None else paired.gains["top1"].estimate,
        p=None if paired is None else paired.adjusted.methods,
        verdict=verdict(mean),
        gmacs=float(contender.protocol["macs"]) / 1e9,
        scores=[str(job.scores.relative_to(out)) for job in jobs],
    )


def _thresholds(runs: Sequence[Sequence[Job]], axis: str) -> list[dict[str, Any]]:
    """Fit the curve of each trained network's runs along an axis, of those that are all tested."""
    found = []
    for jobs in runs:
        curves = [_levels(job, axis) for job in jobs if job.way == "train"]
        whole = [values for values in curves if values is not None]
        if whole:
            fitted = [fit_curve(AXES[axis].difficulty(AXES[axis].levels), *v) for v in whole]
            found.append(
                {
                    "name": jobs[0].entry.name,
                    "levels": list(AXES[axis].levels),
                    "top1": [values[0].tolist() for values in whole],
                    "thresholds": [
                        None if c.threshold is None else AXES[axis].level(c.threshold)
                        for c in fitted
                    ],
                    "curves": [asdict(curve) for curve in fitted],
                }
            )
    return found


def _levels(job: Job, axis: str) -> tuple[Floats, int] | None:
    """Read the accuracies of a run along an axis, and the number of videos; None if one lacks."""
    files = [job.harder(axis, level) for level in AXES[axis].levels]
    if not all(path.exists() for path in files):
        return None
    stored = [read_scores(path) for path in files]
    right = [float(np.mean(one.scores.argmax(axis=1) == one.labels)) for one in stored]
    return np.array(right), len(stored[0].labels)


def verdict(mean: Estimate) -> str:
    """Say whether order is used: where the whole interval lies above what blindness allows."""
    if not mean.runs:
        return UNKNOWN
    return USES_ORDER if mean.low > BOUND else NO_BETTER
