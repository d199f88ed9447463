"""The report of a comparison: rows of its tables, CSV files, a picture and a page."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from datetime import date
from html import escape
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datamodules.clips.crops import count_crops
from datamodules.csv_tables import write_rows
from lightning_modules.evaluation.comparison import Comparison, Estimate
from lightning_modules.evaluation.fusion import ExternalFusion, Fusion
from lightning_modules.evaluation.probe_drops import class_drops, drop_rows, probed_contenders
from lightning_modules.evaluation.provenance import notes_on_tests
from lightning_modules.evaluation.score_files import Contender, Contest
from lightning_modules.reports.html_page import card, save_page, section, table
from lightning_modules.reports.page_plots import ACCENT, BAD, MUTED, draw

TITLES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class"}
MOST_CLASSES = 5
"""Classes that are named on each side as gained and lost."""

Rows = list[list[str]]


def accuracy_rows(contest: Contest, found: Comparison) -> tuple[list[str], Rows]:
    """Write headings and rows of the accuracies."""
    metrics = list(found.accuracy[0])
    headings = ["model", *(TITLES[m] for m in metrics), "GMACs x views", "seeds"]
    rows = []
    for contender, values in zip(contest.contenders, found.accuracy, strict=True):
        cells = [_percent(values[m]) for m in metrics]
        rows.append([contender.name, *cells, _cost(contender), str(len(contender.scores))])
    return headings, rows


def paired_rows(contest: Contest, found: Comparison) -> tuple[list[str], Rows]:
    """Write headings and rows of each model against the first."""
    first = contest.contenders[0].name
    headings = ["model", "top-1 gain", "mean class gain", "p (bootstrap)", "p (McNemar)"]
    headings += [f"only {first} right", "only it right", "same answer"]
    rows = []
    for contender, paired in zip(contest.contenders[1:], found.against_first, strict=True):
        rows.append(
            [
                contender.name,
                _percent(paired.difference["top1"], sign="+"),
                _percent(paired.difference["mean_class"], sign="+"),
                _p(paired.bootstrap_p),
                "several seeds" if paired.mcnemar_p is None else _p(paired.mcnemar_p),
                f"{paired.only_first:.4g}",
                f"{paired.only_other:.4g}",
                f"{100 * paired.agreement:.1f} %",
            ]
        )
    return headings, rows


def class_rows(contest: Contest, found: Comparison, other: int) -> Rows:
    """List the classes that a model loses and gains most against the first, worst first."""
    gains = found.per_class[other] - found.per_class[0]
    order = [int(k) for k in np.argsort(gains, kind="stable") if np.isfinite(gains[k])]
    lost = [k for k in order[:MOST_CLASSES] if gains[k] < 0]
    gained = [k for k in order[-MOST_CLASSES:] if gains[k] > 0]
    totals = np.bincount(contest.labels, minlength=len(contest.class_names))
    return [
        [
            contest.class_names[k],
            f"{100 * gains[k]:+.1f}",
            f"{100 * found.per_class[0, k]:.1f}",
            f"{100 * found.per_class[other, k]:.1f}",
            str(totals[k]),
        ]
        for k in lost + gained
    ]


def fusion_sentence(contest: Contest, fusion: Fusion) -> str:
    """Write the accuracy of late fusion in a sentence."""
    names = [contender.name for contender in contest.contenders]
    shares = ", ".join(f"{n} {w:.3g}" for n, w in zip(names, fusion.weights, strict=True))
    origin = f"searched on the other {fusion.searched_on:,}" if fusion.searched_on else "as given"
    return (
        f"late fusion ({shares}; weights {origin}): top-1 {100 * fusion.top1:.2f} % of "
        f"{fusion.videos:,} videos, the best model alone {100 * fusion.best_single:.2f} %"
    )


def external_sentence(name: str, fusion: ExternalFusion) -> str:
    """Write the accuracy of a model fused with external scores in a sentence."""
    return (
        f"{fusion.name} with {name} (each scaled to length 1 per video, averaged): top-1 "
        f"{100 * fusion.fused:.2f} %, alone {100 * fusion.alone:.2f} %, {name} alone "
        f"{100 * fusion.external:.2f} %"
    )


def protocol_notes(contest: Contest) -> list[str]:
    """Write a line for each part of the protocol in which the tests differ."""
    return notes_on_tests({c.name: c.protocol for c in contest.contenders})


def write_tables(contest: Contest, found: Comparison, folder: Path) -> Iterator[Path]:
    """Write `compare.csv`, `classes.csv` and, with a probe, `drops.csv`; numbers as fractions."""
    metrics = list(found.accuracy[0])
    columns = [f"{m}{end}" for m in metrics for end in ("", "_low", "_high")]
    rows = []
    for number, contender in enumerate(contest.contenders):
        values = [v for m in metrics for v in _values(found.accuracy[number][m])]
        paired = found.against_first[number - 1] if number else None
        tests: list[object] = ["", "", "", "", ""]
        if paired:
            exact = "" if paired.mcnemar_p is None else paired.mcnemar_p
            tests = [*_values(paired.difference["top1"]), paired.bootstrap_p, exact]
        rows.append([contender.name, len(contender.scores), *values, *tests])
    gains = ["top1_gain", "top1_gain_low", "top1_gain_high", "bootstrap_p", "mcnemar_p"]
    yield _write_csv(folder / "compare.csv", ["model", "seeds", *columns, *gains], rows)
    names = [contender.name for contender in contest.contenders]
    totals = np.bincount(contest.labels, minlength=len(contest.class_names))
    per_class = [
        [name, totals[k], *found.per_class[:, k].tolist()]
        for k, name in enumerate(contest.class_names)
    ]
    yield _write_csv(folder / "classes.csv", ["class", "videos", *names], per_class)
    drops = [
        [names[i], contest.contenders[i].protocol["probe"], *astuple(drop), drop.drop]
        for i in probed_contenders(contest)
        for drop in class_drops(contest, found, i)
    ]
    columns = ["model", "probe", "class", "videos", "plain", "probed", "called", "share", "drop"]
    if drops:
        yield _write_csv(folder / "drops.csv", columns, drops)


def write_picture(contest: Contest, found: Comparison, folder: Path) -> Path:
    """Draw the accuracies with their intervals as `compare.png`."""
    figure = Figure(figsize=(7.0, 1.4 + 0.45 * len(contest.contenders)), layout="constrained")
    _forest(figure.subplots(), contest, found, "#2f6fde", "#667085")
    path = folder / "compare.png"
    figure.savefig(path, dpi=150)
    return path


def write_page(contest: Contest, found: Comparison, sentences: Sequence[str], folder: Path) -> Path:
    """Write the whole report as one page, `compare.html`.

    Args:
        contest: The models.
        found: Their comparison.
        sentences: Results of late fusion.
        folder: Folder of the page.
    """
    sections = [section("Accuracy, %", card(table(*accuracy_rows(contest, found))))]
    if found.against_first:
        title = f"Against {contest.contenders[0].name}"
        sections.append(section(title, card(table(*paired_rows(contest, found)))))
    forest = draw(
        lambda axes: _forest(axes, contest, found, ACCENT, MUTED),
        height=max(1.6, 0.9 + 0.35 * len(contest.contenders)),
    )
    pictures = card("<h3>Top-1 with 95 % intervals</h3>" + forest)
    tables = ""
    for other, contender in enumerate(contest.contenders[1:], 1):
        picture, lines = _class_cards(contest, found, other, contender.name)
        pictures, tables = pictures + picture, tables + lines
    sections.append(section("Pictures", f'<div class="plots">{pictures}</div>'))
    if tables:
        sections.append(section("Classes lost and gained most", tables))
    for probed in probed_contenders(contest):
        title = f"What {contest.contenders[probed].protocol['probe']} costs each class"
        sections.append(section(title, card(table(*drop_rows(contest, found, probed)))))
    if sentences:
        lines = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
        sections.append(section("Late fusion", card(lines)))
    sections.append(section("Protocols", card(table(*_protocols(contest), numbers=False))))
    names = ", ".join(contender.name for contender in contest.contenders)
    where = f"{len(contest.video_ids):,} videos of {len(contest.class_names)} classes, "
    where += date.today().isoformat()
    notes = protocol_notes(contest)
    parts = "one part" if len(notes) == 1 else f"{len(notes)} parts"
    verdict = f"protocols differ in {parts}" if notes else "one protocol"
    return save_page(
        folder / "compare.html", names, where, verdict, good=not notes, sections=sections
    )


def _class_cards(contest: Contest, found: Comparison, other: int, name: str) -> tuple[str, str]:
    """Make a picture and a table of the classes that a model loses and gains most."""
    rows = class_rows(contest, found, other)
    title = f"<h3>{escape(name)} against {escape(contest.contenders[0].name)}</h3>"
    if not rows:
        return "", card(f"{title}<p>every class has the same accuracy</p>")
    gains = [(row[0], float(row[1])) for row in rows]
    plot = draw(lambda axes: _gains(axes, gains), height=0.8 + 0.3 * len(gains))
    headings = ["class", "gain", contest.contenders[0].name, name, "videos"]
    return card(title + plot), card(title + table(headings, rows))


def _forest(axes: Axes, contest: Contest, found: Comparison, dot: str, line: str) -> None:
    """Draw the top-1 of each model as a dot on its interval."""
    estimates = [values["top1"] for values in found.accuracy]
    rows = np.arange(len(estimates))
    middle = 100 * np.array([e.value for e in estimates])
    reach = [middle - 100 * np.array([e.low for e in estimates])]
    reach.append(100 * np.array([e.high for e in estimates]) - middle)
    axes.errorbar(middle, rows, xerr=reach, fmt="o", color=dot, ecolor=line, capsize=4)
    axes.set_yticks(rows, [contender.name for contender in contest.contenders])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"top-1 of {len(contest.video_ids):,} videos, %")
    axes.grid(axis="x", alpha=0.3)


def _gains(axes: Axes, gains: Sequence[tuple[str, float]]) -> None:
    """Draw the points that each class gains, losses in another colour."""
    colors = [ACCENT if gain > 0 else BAD for _, gain in gains]
    bars = axes.barh([name for name, _ in gains], [gain for _, gain in gains], 0.6, color=colors)
    axes.bar_label(bars, fmt="%+.1f", padding=3)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_ylim(len(gains) - 0.5, -0.5)
    axes.margins(x=0.2)
    axes.set_xlabel("points of accuracy")


def _protocols(contest: Contest) -> tuple[list[str], Rows]:
    parts = [key for key in contest.contenders[0].protocol if key not in ("missing", "broken")]
    rows = [[key, *(str(c.protocol.get(key, "")) for c in contest.contenders)] for key in parts]
    return ["", *(contender.name for contender in contest.contenders)], rows


def _values(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _percent(estimate: Estimate, sign: str = "") -> str:
    value, low, high = (f"{100 * v:{sign}.2f}" for v in _values(estimate))
    return f"{value} [{low}, {high}]"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _cost(contender: Contender) -> str:
    protocol = contender.protocol
    if "macs" not in protocol:
        return ""
    views = int(protocol["num_clips"]) * count_crops(protocol["num_crops"])
    return f"{protocol['macs'] / 1e9:.2f} x {views}"


def _write_csv(path: Path, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, chain([headings], rows))
    return path
