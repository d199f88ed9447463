"""The page of a comparison, `compare.html`."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from html import escape
from pathlib import Path

from lightning_modules.evaluation.comparison import Comparison
from lightning_modules.evaluation.probe_drops import drop_rows, probed_contenders
from lightning_modules.evaluation.score_files import Contest
from lightning_modules.reports.compare.plots import (
    FEWEST,
    paint_cost,
    paint_gains,
    paint_intervals,
    paint_reliability,
)
from lightning_modules.reports.compare.rows import (
    BEYOND,
    accuracy_rows,
    beyond_rows,
    caution_notes,
    class_rows,
    extreme_classes,
    paired_rows,
    protocol_notes,
    protocol_rows,
    total_cost,
)
from lightning_modules.reports.html_page import card, save_page, section, table
from lightning_modules.reports.page_plots import ACCENT, MUTED, draw


def write_page(contest: Contest, found: Comparison, sentences: Sequence[str], folder: Path) -> Path:
    """Write the whole report as one page.

    Args:
        contest: The models.
        found: Their comparison.
        sentences: Results of late fusion.
        folder: Folder of the page.
    """
    notes = protocol_notes(contest)
    cautions = "".join(_caption(line) for line in caution_notes(contest))
    sections = [section("Accuracy, %", card(table(*accuracy_rows(contest, found))) + cautions)]
    if found.against_first:
        title = f"Against {contest.contenders[0].name}"
        sections.append(section(title, card(table(*paired_rows(contest, found)))))
    beyond = card(table(*beyond_rows(contest, found)))
    sections.append(section(BEYOND, beyond))
    sections.append(section("Pictures", _pictures(contest, found)))
    if found.against_first:
        sections.append(section("Classes lost and gained most", _classes(contest, found)))
    for probed in probed_contenders(contest):
        title = f"What {contest.contenders[probed].protocol['probe']} costs each class"
        sections.append(section(title, card(table(*drop_rows(contest, found, probed)))))
    if sentences:
        lines = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
        sections.append(section("Late fusion", card(lines)))
    protocols = card(table(*protocol_rows(contest), numbers=False))
    sections.append(section("Protocols", "".join(map(_caption, notes)) + protocols))
    names = ", ".join(contender.name for contender in contest.contenders)
    where = f"{len(contest.video_ids):,} videos of {len(contest.class_names)} classes, "
    where += date.today().isoformat()
    parts = "one part" if len(notes) == 1 else f"{len(notes)} parts"
    verdict = f"protocols differ in {parts}" if notes else "one protocol"
    return save_page(
        folder / "compare.html", names, where, verdict, good=not notes, sections=sections
    )


def _pictures(contest: Contest, found: Comparison) -> str:
    height = max(1.6, 0.9 + 0.35 * len(contest.contenders))
    plot = draw(lambda axes: paint_intervals(axes, contest, found, ACCENT, MUTED), height)
    cards = card("<h3>Top-1 with 95 % intervals</h3>" + plot)
    if found.against_first:
        names = [contender.name for contender in contest.contenders]
        gains = [paired.gains["top1"].estimate for paired in found.against_first]
        rows = list(zip(names[1:], gains, strict=True))
        plot = draw(lambda axes: paint_gains(axes, rows, models=True), height)
        cards += card(f"<h3>Top-1 against {escape(names[0])}</h3>" + plot)
    plot = draw(lambda axes: paint_reliability(axes, contest, found), height=3.8)
    words = "On the dashed line, confidence is how often the answer is right; below it, too high. "
    words += (
        f"The area of a mark is its bin's share; bins of fewer than {FEWEST} videos are left out."
    )
    cards += card("<h3>Reliability</h3>" + plot + _caption(words))
    if sum(total_cost(contender) is not None for contender in contest.contenders) > 1:
        plot = draw(lambda axes: paint_cost(axes, contest, found), height=3.8)
        cards += card("<h3>Accuracy against cost</h3>" + plot)
    return f'<div class="plots">{cards}</div>'


def _classes(contest: Contest, found: Comparison) -> str:
    """Make pictures and tables of the classes that each model loses and gains most."""
    plots = tables = ""
    for other, contender in enumerate(contest.contenders[1:], 1):
        title = f"<h3>{escape(contender.name)} against {escape(contest.contenders[0].name)}</h3>"
        extremes = extreme_classes(found, other)
        if not extremes:
            tables += card(f"{title}<p>every class has the same accuracy</p>")
            continue
        gains = [(contest.class_names[k], gain.estimate) for k, gain in extremes]
        plot = draw(partial(paint_gains, gains=gains), 0.9 + 0.3 * len(gains))
        plots += card(title + plot)
        tables += card(title + table(*class_rows(contest, found, other)))
    return f'<div class="plots">{plots}</div>{tables}'


def _caption(line: str) -> str:
    return f'<p class="caption">{escape(line)}</p>'
