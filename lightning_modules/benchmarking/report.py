"""The report of a benchmark: JSON, tables drawn from it, and a page for each look."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datamodules.atomic import write_atomically
from datamodules.motion_shapes.rendering import Look
from lightning_modules.benchmarking.picture import draw_curves
from lightning_modules.benchmarking.plan import WAYS
from lightning_modules.benchmarking.results import LookResults
from lightning_modules.benchmarking.thresholds import AXES, HALF_WAY
from lightning_modules.dashboards.markdown import markdown_table
from lightning_modules.evaluation.intervals import Estimate
from lightning_modules.reports.compare.files import write_picture, write_tables
from lightning_modules.reports.compare.page import write_page
from lightning_modules.reports.compare.rows import p_value, percent

__all__ = [
    "HEADINGS",
    "SHOWN",
    "THRESHOLD_HEADINGS",
    "known_sentence",
    "result_rows",
    "tables",
    "threshold_rows",
    "write_report",
]

HEADINGS = ["network", "way", "runs", "top-1, % [95 %]", "above the control", "uses order"]
HEADINGS += ["range", "right pair, %", "p", "GMACs"]
SHOWN = 6
"""Columns that fit a terminal."""

THRESHOLD_HEADINGS = ["axis", "network", "mean", "range", "runs with a threshold"]


def write_report(
    out: Path, results: Mapping[str, Any], read: Mapping[Look, LookResults]
) -> list[Path]:
    """Write results.

    Args:
        out: Folder of the benchmark.
        results: Of `collect`.
        read: Of `read_looks`.

    Returns:
        The files: `benchmark.json`, `benchmark.md`, and of each look its pictures and page.
    """
    files = [out / "benchmark.json", out / "benchmark.md"]
    write_atomically(files[0], json.dumps(results, indent=2) + "\n")
    write_atomically(files[1], tables(results))
    for look, found in read.items():
        if axes := results["looks"][look]["axes"]:
            files.append(out / look / "thresholds.png")
            draw_curves(files[-1], axes, look)
        folder = out / look / "compare"
        folder.mkdir(exist_ok=True)
        list(write_tables(found.contest, found.comparison, folder))
        write_picture(found.contest, found.comparison, folder)
        files.append(write_page(found.contest, found.comparison, [], folder))
    return files


def tables(results: Mapping[str, Any]) -> str:
    """Draw the tables of results, as Markdown."""
    parts = [f"# {results['benchmark']}"]
    if results["words"]:
        parts.append(f"Every training with `{' '.join(results['words'])}`.")
    for look, found in results["looks"].items():
        parts.append(f"## {look}: {found['videos']} test clips")
        parts += [
            known_sentence(found["known"]),
            markdown_table(HEADINGS, result_rows(found["rows"])),
        ]
        if rows := threshold_rows(found["axes"]):
            parts.append(f"Trained on the easiest clips, {100 * HALF_WAY:.0f} % are right at:")
            parts.append(markdown_table(THRESHOLD_HEADINGS, rows))
    ways = {row["way"] for found in results["looks"].values() for row in found["rows"]}
    parts += [f"{way}: {told}." for way, told in WAYS.items() if way in ways]
    return "\n\n".join(parts) + "\n"


def known_sentence(known: Mapping[str, float]) -> str:
    """Say what is known beforehand."""
    oracle, blind, frames = (100 * known[name] for name in ("oracle", "blind_oracle", "frames"))
    return (
        f"Known: whoever reads the stored motion has {oracle:.2f} % right, without its direction "
        f"{blind:.2f} % expected; an average of single frames can expect {frames:.1f} % at most."
    )


def result_rows(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Write the rows of the networks."""
    return [
        [
            row["name"],
            row["way"],
            str(len(row["top1"])),
            percent(Estimate(**row["mean"])),
            "the control" if row["gain"] is None else percent(Estimate(**row["gain"]), "+"),
            row["verdict"],
            f"{100 * min(row['top1']):.2f}-{100 * max(row['top1']):.2f}",
            f"{100 * sum(row['pair']) / len(row['pair']):.2f}",
            "" if row["gain"] is None else p_value(row["p"]),
            f"{row['gmacs']:.3f}",
        ]
        for row in rows
    ]


def threshold_rows(axes: Mapping[str, list[dict[str, Any]]]) -> list[list[str]]:
    """Write the rows of the thresholds: mean and range of the runs that have one."""
    rows = []
    for axis, networks in axes.items():
        for one in networks:
            known = [value for value in one["thresholds"] if value is not None]
            mean = f"{sum(known) / len(known):.3g}" if known else "none within the range"
            spread = f"{min(known):.3g}-{max(known):.3g}" if known else ""
            runs = f"{len(known)} of {len(one['thresholds'])}"
            rows.append([AXES[axis].title, one["name"], mean, spread, runs])
    return rows
