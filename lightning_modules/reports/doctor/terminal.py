"""The report of an examination in the terminal."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from datamodules.health.examination import Examination
from datamodules.health.findings import LEVELS, Finding, Level

STYLES: dict[Level, str] = {"fatal": "bold red", "warning": "yellow", "note": "dim"}
MAX_NAMED = 20
"""Broken videos, and near-duplicates, that are named; the page names more."""


def verdict_line(found: Examination) -> str:
    """Write the result in one line."""
    counts = dict.fromkeys(LEVELS, 0)
    for finding in found.findings:
        counts[finding.level] += 1
    listed = ", ".join(
        f"{count} {level}{'s' if count != 1 and level != 'fatal' else ''}"
        for level, count in counts.items()
    )
    return f"{'not ready' if found.is_fatal else 'ready'} for training: {listed}"


def by_level(found: Examination) -> list[Finding]:
    """Sort the findings, the worst first."""
    return sorted(found.findings, key=lambda finding: LEVELS.index(finding.level))


def print_report(found: Examination, page: Path, console: Console) -> None:
    """Print tables of the findings.

    Args:
        found: The examination.
        page: Path of its page.
        console: Console to print to.
    """
    name = type(found.data).__name__
    console.print(Text(f"{name}, {found.data.root}", style="bold"))
    if found.splits:
        console.print(_splits(found))
    if found.division:
        console.print(_division(found))
    console.print(_findings(found))
    if found.near_pairs:
        console.print(_near_pairs(found))
    if found.broken:
        console.print(_broken(found))
    if found.speeds:
        console.print(_speeds(found))
    style = STYLES["fatal"] if found.is_fatal else "bold green"
    console.print(Text(verdict_line(found), style=style))
    console.print(Text(f"page: {page}"), soft_wrap=True)


def _splits(found: Examination) -> Table:
    table = Table()
    for heading in ("list", "videos", "official", "found", "decoded", "broken"):
        table.add_column(heading, justify="left" if heading == "list" else "right")
    for row in found.as_dict()["splits"]:
        official = "" if row["official"] is None else f"{row['official']:,}"
        counts = (row[key] for key in ("present", "decoded", "broken"))
        table.add_row(
            row["split"], f"{row['listed']:,}", official, *(f"{count:,}" for count in counts)
        )
    return table


def division_rows(found: Examination) -> tuple[list[str], list[list[str]]]:
    """Make headings and rows of the table of what a fit has."""
    rows = [[p.split, f"{p.videos:,}", f"{p.found:,}", p.origin] for p in found.division]
    return ["a fit's", "videos", "found", "come from"], rows


def _division(found: Examination) -> Table:
    table, (headings, rows) = Table(), division_rows(found)
    for heading in headings:
        number = heading in {"videos", "found"}
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _findings(found: Examination) -> Table:
    table = Table(show_lines=True)
    for heading in ("level", "check"):
        table.add_column(heading, no_wrap=True)
    table.add_column("finding", overflow="fold")
    for finding in by_level(found):
        text = Text(finding.sentence)
        if finding.examples and finding.level != "note":
            text.append("\n" + "\n".join(finding.examples[:3]), style="dim")
        level = Text(finding.level, style=STYLES[finding.level])
        table.add_row(level, finding.check, text)
    return table


def _broken(found: Examination) -> Table:
    more = len(found.broken) - MAX_NAMED
    table = Table(caption=f"and {more:,} more, see the page" if more > 0 else None)
    for heading in ("list", "broken video", "verdict", "what was found"):
        table.add_column(heading, overflow="fold")
    for split, index, result in found.broken[:MAX_NAMED]:
        cells = (split.name, split.table.paths[index], str(result.verdict), result.detail)
        table.add_row(*map(Text, cells))
    return table


def _near_pairs(found: Examination) -> Table:
    more = len(found.near_pairs) - MAX_NAMED
    table = Table(caption=f"and {more:,} more, in findings.json" if more > 0 else None)
    for heading in ("list", "near-duplicate", "of the training video", "how"):
        table.add_column(heading, overflow="fold")
    for pair in found.near_pairs[:MAX_NAMED]:
        table.add_row(*map(Text, (pair.split, pair.video, pair.training, pair.how)))
    return table


def _speeds(found: Examination) -> Table:
    table = Table()
    table.add_column("loader workers", justify="right")
    table.add_column("clips/s", justify="right")
    for speed in found.speeds:
        mark = "  (configured)" if speed.num_workers == found.data.loading.num_workers else ""
        table.add_row(f"{speed.num_workers}{mark}", f"{speed.clips_per_second:.1f}")
    return table
