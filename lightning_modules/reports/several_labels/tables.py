"""Tables of a comparison on videos with several classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datamodules.atomic import writing_text
from datamodules.csv_tables import write_rows
from lightning_modules.evaluation.intervals import Estimate, Gain
from lightning_modules.evaluation.multiplicity import holm
from lightning_modules.evaluation.score_files import Contest
from lightning_modules.evaluation.several_labels.comparison import (
    SeveralComparison,
    class_results,
)
from lightning_modules.reports.compare.rows import UNKNOWN, interval_over

__all__ = ["gain_rows", "result_rows", "write_results"]

Table = tuple[list[str], list[list[str]]]
Cells = list[object]


def _title(name: str) -> str:
    return name if name == "mAP" else f"{name} top-1"


def _percent(value: Estimate, sign: str = "") -> str:
    low, high = 100 * value.low, 100 * value.high
    return f"{100 * value.value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def result_rows(contest: Contest, found: SeveralComparison) -> Table:
    """Write headings and rows of the results."""
    names = list(found.results[0])
    headings = ["model", *map(_title, names), "runs", "interval over"]
    rows = []
    for contender, values in zip(contest.contenders, found.results, strict=True):
        over = interval_over(values[names[0]])
        cells = [*map(_percent, values.values()), str(len(contender.scores)), over]
        rows.append([contender.name, *cells])
    return headings, rows


def gain_rows(contest: Contest, found: SeveralComparison) -> Table:
    """Write headings and rows of the gains over the first model; p by Holm's method over models."""
    names, headings = list(found.gains[0]), ["model"]
    for name in names:
        headings += [f"{_title(name)} gain", "p, these runs", "p, the methods"]
    columns = [cells for name in names for cells in _gain_columns([g[name] for g in found.gains])]
    rows = [list(row) for row in zip(*columns, strict=True)]
    models = contest.contenders[1:]
    return headings, [[model.name, *row] for model, row in zip(models, rows, strict=True)]


def _gain_columns(gains: Sequence[Gain]) -> list[list[str]]:
    """Write the gains of all models in one result, and their p-values."""
    shown = [[_percent(gain.estimate, "+") for gain in gains]]
    for values in ([gain.runs_p for gain in gains], [gain.methods_p for gain in gains]):
        adjusted = iter(holm([value for value in values if value is not None]))
        shown.append([UNKNOWN if value is None else f"{next(adjusted):.3g}" for value in values])
    return shown


def write_results(contest: Contest, found: SeveralComparison, folder: Path) -> list[Path]:
    """Write `compare.csv` and `classes.csv`.

    Args:
        contest: The models.
        found: Their results.
        folder: Folder of the files.
    """
    classes = np.stack([class_results(contest, model) for model in contest.contenders])
    videos = contest.labels.sum(axis=0)
    by_class: list[Cells] = [
        [name, int(videos[k]), *("" if np.isnan(v) else float(v) for v in classes[:, k])]
        for k, name in enumerate(contest.class_names)
    ]
    files: dict[str, list[Cells]] = {
        "compare.csv": _models(contest, found),
        "classes.csv": [["class", "videos", *(m.name for m in contest.contenders)], *by_class],
    }
    for name, lines in files.items():
        with writing_text(folder / name, newline="") as file:
            write_rows(file, lines)
    return [folder / name for name in files]


def _models(contest: Contest, found: SeveralComparison) -> list[Cells]:
    """List the results and gains of each model; p-values as if it were the only one."""
    names, ends = list(found.results[0]), ("", "_low", "_high")
    headings: Cells = ["model", "runs", "interval_over"]
    headings += [f"{name}{end}" for name in names for end in ends]
    headings += [f"{name}_gain{end}" for name in names for end in (*ends, "_p_runs", "_p_methods")]
    lines = [headings]
    for number, (model, values) in enumerate(zip(contest.contenders, found.results, strict=True)):
        row: Cells = [model.name, len(model.scores), interval_over(values[names[0]])]
        row += [cell for name in names for cell in _values(values[name])]
        for name in names if number else ():
            gain = found.gains[number - 1][name]
            row += [*_values(gain.estimate), gain.runs_p, gain.methods_p]
        row += [""] * (len(headings) - len(row))
        lines.append(["" if cell is None else cell for cell in row])
    return lines


def _values(estimate: Estimate) -> Cells:
    return [estimate.value, estimate.low, estimate.high]
