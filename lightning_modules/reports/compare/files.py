"""Files of a comparison beside its page: tables as CSV and a picture."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from datamodules.csv_tables import write_rows
from lightning_modules.evaluation.calibration import BINS
from lightning_modules.evaluation.comparison import Comparison, Paired
from lightning_modules.evaluation.intervals import Estimate
from lightning_modules.evaluation.probe_drops import class_drops, probed_contenders
from lightning_modules.evaluation.score_files import Contest
from lightning_modules.reports.compare.plots import paint_intervals
from lightning_modules.reports.compare.rows import interval_over, total_cost

Cells = list[object]

_TESTS = ("runs_p", "methods_p", "mcnemar_p")


def write_tables(contest: Contest, found: Comparison, folder: Path) -> Iterator[Path]:
    """Write `compare.csv`, `classes.csv`, `reliability.csv` and, with a probe, `drops.csv`.

    Shares are fractions; a cell is empty where nothing is known.
    """
    yield _write_csv(folder / "compare.csv", *_models(contest, found))
    yield _write_csv(folder / "classes.csv", *_classes(contest, found))
    yield _write_csv(folder / "reliability.csv", *_reliability(contest, found))
    names = [contender.name for contender in contest.contenders]
    drops: list[Cells] = [
        [names[i], contest.contenders[i].protocol["probe"], *astuple(drop), drop.drop]
        for i in probed_contenders(contest)
        for drop in class_drops(contest, found, i)
    ]
    columns = ["model", "probe", "class", "videos", "plain", "probed", "called", "share", "drop"]
    if drops:
        yield _write_csv(folder / "drops.csv", columns, drops)


def _models(contest: Contest, found: Comparison) -> tuple[list[str], list[Cells]]:
    metrics = list(found.accuracy[0])
    headings = ["model", "runs", "interval_over", *_three(*metrics), "ece", *_three("log_loss")]
    headings += ["gmacs_of_all_views", *_three(*(f"{m}_gain" for m in metrics))]
    headings += [*_TESTS, *(f"{test}_holm" for test in _TESTS)]
    rows = []
    for number, contender in enumerate(contest.contenders):
        values = found.accuracy[number]
        cost = total_cost(contender)
        row: Cells = [contender.name, len(contender.scores), interval_over(values["top1"])]
        row += [cell for m in metrics for cell in _values(values[m])]
        row += [found.calibration[number].error, *_values(found.log_loss[number])]
        row += ["" if cost is None else cost]
        paired = found.against_first[number - 1] if number else None
        rows.append(row + _paired(paired, metrics))
    return headings, rows


def _paired(paired: Paired | None, metrics: Sequence[str]) -> Cells:
    if paired is None:
        return [""] * (3 * len(metrics) + 2 * len(_TESTS))
    gains: Cells = [cell for m in metrics for cell in _values(paired.gains[m].estimate)]
    tests = (*astuple(paired.tests), *astuple(paired.adjusted))
    return gains + ["" if p is None else p for p in tests]


def _classes(contest: Contest, found: Comparison) -> tuple[list[str], list[Cells]]:
    names = [contender.name for contender in contest.contenders]
    gains = [
        f"{name}{part}"
        for name in names[1:]
        for part in (*_three("_gain"), "_p_benjamini_hochberg")
    ]
    totals = np.bincount(contest.labels, minlength=len(contest.class_names))
    rows = []
    for k, name in enumerate(contest.class_names):
        row: Cells = [name, totals[k], *found.per_class[:, k].tolist()]
        for paired in found.against_first:
            gain = paired.classes[k]
            row += [""] * 4 if gain is None else [*_values(gain.estimate), paired.class_p[k]]
        rows.append(row)
    return ["class", "videos", *names, *gains], rows


def _reliability(contest: Contest, found: Comparison) -> tuple[list[str], list[Cells]]:
    rows: list[Cells] = [
        [contender.name, k / BINS, (k + 1) / BINS, bins.share[k]]
        + (["", ""] if bins.share[k] == 0 else [bins.confidence[k], bins.accuracy[k]])
        for contender, bins in zip(contest.contenders, found.calibration, strict=True)
        for k in range(BINS)
    ]
    return ["model", "above", "up_to", "share_of_videos", "confidence", "accuracy"], rows


def write_picture(contest: Contest, found: Comparison, folder: Path) -> Path:
    """Draw the accuracies with their intervals as `compare.png`."""
    figure = Figure(figsize=(7.0, 1.4 + 0.45 * len(contest.contenders)), layout="constrained")
    paint_intervals(figure.subplots(), contest, found, "#2f6fde", "#667085")
    path = folder / "compare.png"
    figure.savefig(path, dpi=150)
    return path


def _three(*names: str) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


def _values(estimate: Estimate) -> Cells:
    return [estimate.value, estimate.low, estimate.high]


def _write_csv(path: Path, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, chain([headings], rows))
    return path
