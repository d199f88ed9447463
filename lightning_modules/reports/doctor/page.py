"""The report of an examination as one HTML page that needs nothing else."""

from datetime import date
from html import escape
from pathlib import Path

from datamodules.health.examination import Examination
from datamodules.health.findings import Finding
from datamodules.video.indices.cache import DECODER
from lightning_modules.reports.doctor.pairs import near_pairs
from lightning_modules.reports.doctor.plots import plots
from lightning_modules.reports.doctor.sheets import class_sheet, odd_videos
from lightning_modules.reports.doctor.terminal import by_level, division_rows, verdict_line
from lightning_modules.reports.html_page import card, save_page, section, table

MAX_ROWS = 1000
"""Broken videos on the page; `findings.json` has all."""


def write_page(found: Examination, target: Path) -> Path:
    """Write the page; it appears whole or not at all.

    Args:
        found: The examination.
        target: The file.

    Returns:
        The file.
    """
    sections = [section("Findings", "".join(map(_finding, by_level(found))))]
    if found.division:
        sections.insert(
            0, section("What a fit has", card(table(*division_rows(found), numbers=False)))
        )
    if found.splits:
        sections.insert(0, section("Lists", card(_splits(found))))
    if any(found.sheet.values()):
        sections.append(section("Clips as the network sees them", class_sheet(found)))
    drawn = "".join(
        f'<div class="card"><h3>{escape(title)}</h3>{svg}<p class="caption">{escape(caption)}</p>'
        "</div>"
        for title, svg, caption in plots(found)
    )
    if drawn:
        sections.append(section("Pictures", f'<div class="plots">{drawn}</div>'))
    if found.near_pairs:
        sections.append(section("Near-duplicates", near_pairs(found.near_pairs)))
    if found.broken:
        sections.append(section("Broken videos", card(_broken(found))))
    return save_page(
        target,
        f"{type(found.data).__name__}: examination",
        f"{found.data.root}, {date.today().isoformat()}, {DECODER}",
        verdict_line(found),
        good=not found.is_fatal,
        sections=sections,
    )


def _finding(finding: Finding) -> str:
    examples = "".join(f"<li>{escape(example)}</li>" for example in finding.examples)
    more = f"<details><summary>examples</summary><ul>{examples}</ul></details>" if examples else ""
    more += odd_videos(finding)
    return (
        f'<div class="card finding {finding.level}">'
        f'<span class="label">{finding.level} &middot; {escape(finding.check)}</span>'
        f"<p>{escape(finding.sentence)}</p>{more}</div>\n"
    )


def _splits(found: Examination) -> str:
    columns = ("listed", "official", "present", "decoded", "broken")
    rows = []
    for row in found.as_dict()["splits"]:
        cells = ["" if row[key] is None else f"{row[key]:,}" for key in columns]
        rows.append([row["split"], *cells])
    return table(["list", "videos", "official", "found", "decoded", "broken"], rows)


def _broken(found: Examination) -> str:
    rows = [
        [split.name, split.table.paths[index], str(result.verdict), result.detail]
        for split, index, result in found.broken[:MAX_ROWS]
    ]
    more = len(found.broken) - MAX_ROWS
    rest = f'<p class="caption">and {more:,} more, in findings.json</p>' if more > 0 else ""
    return table(["list", "video", "verdict", "what was found"], rows, numbers=False) + rest
