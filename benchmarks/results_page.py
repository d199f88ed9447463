"""Tables of docs/results.md and README.md, drawn from the JSON files in docs/results.

A table stands between `<!-- NAME -->` and `<!-- end -->`; what stood there is replaced. A test
holds the pages against the files, so no figure of a table is written by hand.

    uv run python benchmarks/results_page.py --benchmark OUT  # take results over, write tables
    uv run python benchmarks/results_page.py                  # write the tables
    uv run python benchmarks/results_page.py --check          # exit code 1 if one differs

`--benchmark` reads the folder of a `kinetoscope benchmark`, decides the papers' claims by the
paired comparison of `kinetoscope compare`, and writes motion_shapes.json.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from datamodules.atomic import write_atomically
from lightning_modules.benchmarking.report import (
    HEADINGS,
    THRESHOLD_HEADINGS,
    known_sentence,
    result_rows,
    threshold_rows,
)
from lightning_modules.benchmarking.results import LookResults, collect, read_looks
from lightning_modules.dashboards.markdown import markdown_table
from lightning_modules.evaluation.comparison import compare
from lightning_modules.evaluation.intervals import Estimate
from lightning_modules.evaluation.multiplicity import holm
from lightning_modules.reports.compare.rows import p_value, percent

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
PAGES = (DOCS / "results.md", PROJECT / "README.md")
MOTION_SHAPES = DOCS / "results" / "motion_shapes.json"
TABLE = re.compile(r"(<!-- ([\w/ .-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
LEAST_RUNS = 3
LIMIT = 0.05
"""Most that an adjusted p may be where a claim is decided."""
HOLDS, REVERSED, OPEN = "holds", "does not hold: the reverse", "cannot be told"
CLAIM_HEADINGS = ["claim", "of", "runs", "gain, points [95 %]", "p, Holm", "here"]


class Claim(NamedTuple):
    """What a paper says of two networks: the first is above the other."""

    above: str
    below: str
    text: str
    source: str


CLAIMS = (
    Claim("cost_a_tiny", "c2d_tiny", "CoST(a) above C2D", "Li et al., tables 4, 5"),
    Claim("cost_b_tiny", "c2d_tiny", "CoST(b) above C2D", "Li et al., tables 4, 5"),
    Claim("cost_a_tiny", "c3d_tiny", "CoST(a) above C3D", "Li et al., tables 4, 5"),
    Claim("cost_b_tiny", "c3d_tiny", "CoST(b) above C3D", "Li et al., tables 4, 5"),
    Claim("cost_b_tiny", "cost_a_tiny", "CoST(b) above CoST(a)", "Li et al., table 2"),
    Claim("tsm_tiny", "tsn_tiny", "TSM above TSN", "Lin et al., ICCV 2019"),
    Claim("selfy_tsm_tiny", "tsm_tiny", "SELFY on TSM above TSM", "Kwon et al., ICCV 2021"),
    Claim("selfy_tsn_tiny", "tsn_tiny", "SELFY on TSN above TSN", "Kwon et al., ICCV 2021"),
    Claim("stnet_tiny", "tsn_tiny", "StNet above TSN", "He et al., AAAI 2019"),
)


def main() -> int:
    """Take results over, write tables, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument(
        "--benchmark", type=Path, help="folder of runs whose results are taken over"
    )
    options = parser.parse_args()
    if options.benchmark is not None:
        text = json.dumps(results_of(options.benchmark), indent=1)
        write_atomically(MOTION_SHAPES, f"{text}\n")
    differs = False
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        drawn = draw(text)
        differs |= drawn != text
        if not options.check:
            write_atomically(page, drawn)
    return int(options.check and differs)


def results_of(out: Path) -> dict[str, Any]:
    """Collect the results of a benchmark and the claims of each look.

    Args:
        out: Its folder.

    Raises:
        SystemExit: If a network has fewer than three runs: nothing is published of it.
    """
    read = read_looks(out)
    results = collect(out, out / "data", read)
    for look, found in read.items():
        few = [jobs[0].entry.name for jobs in found.runs if len(jobs) < LEAST_RUNS]
        if few:
            raise SystemExit(
                f"{look}: fewer than {LEAST_RUNS} runs of {', '.join(few)}; go on first"
            )
        results["looks"][look]["claims"] = decide(found)
    return results


def decide(found: LookResults) -> list[dict[str, Any]]:
    """Decide the claims whose two networks were trained, by pairs of runs on the same clips.

    Args:
        found: The runs of a look.
    """
    trained = {
        jobs[0].entry.name: contender
        for jobs, contender in zip(found.runs, found.contest.contenders, strict=True)
        if jobs[0].way == "train"
    }
    claims = [claim for claim in CLAIMS if claim.above in trained and claim.below in trained]
    pairs = [
        compare(replace(found.contest, contenders=[trained[claim.below], trained[claim.above]]))
        for claim in claims
    ]
    gains = [pair.against_first[0].gains["top1"].estimate for pair in pairs]
    raw = [pair.against_first[0].tests.methods for pair in pairs]
    adjusted = holm([1.0 if p is None else p for p in raw])
    return [
        {
            **claim._asdict(),
            "runs": [len(trained[name].scores) for name in (claim.above, claim.below)],
            "gain": asdict(gain),
            "p": p,
            "verdict": verdict(gain, p),
        }
        for claim, gain, p in zip(claims, gains, adjusted, strict=True)
    ]


def verdict(gain: Estimate, p: float) -> str:
    """Say whether a claim holds: where interval and adjusted p exclude no difference."""
    if p > LIMIT or gain.low <= 0 <= gain.high:
        return OPEN
    return HOLDS if gain.value > 0 else REVERSED


def draw(text: str) -> str:
    """Draw the tables of a page anew.

    Args:
        text: The page.

    Returns:
        The page, with each table as the JSON files have it.
    """
    return TABLE.sub(lambda found: f"{found[1]}{table(found[2])}\n{found[3]}", text)


def table(name: str) -> str:
    """Draw a table: `FILE LOOK KIND`, of results, thresholds or claims; or `FILE summary`."""
    file, *words = name.split()
    looks: dict[str, Any] = json.loads((DOCS / "results" / f"{file}.json").read_text())["looks"]
    if words == ["summary"]:
        return summary(looks)
    look, kind = words
    part = looks[look]
    if kind == "thresholds":
        return markdown_table(THRESHOLD_HEADINGS, threshold_rows(part["axes"]))
    if kind == "claims":
        return markdown_table(CLAIM_HEADINGS, map(claim_row, part["claims"]))
    shown = [index for index, heading in enumerate(HEADINGS) if heading not in ("way", "GMACs")]
    lines = [[line[index] for index in shown] for line in (HEADINGS, *result_rows(part["rows"]))]
    return f"{known_sentence(part['known'])}\n\n{markdown_table(lines[0], lines[1:])}"


def summary(looks: Mapping[str, Any]) -> str:
    """Draw a table of the networks: top-1 on each look, mean and range of the runs."""
    cells = {
        look: {row["name"]: mean_and_range(row["top1"]) for row in part["rows"]}
        for look, part in looks.items()
    }
    names = dict.fromkeys(name for column in cells.values() for name in column)
    rows = [[f"`{name}`", *(cells[look].get(name, "") for look in cells)] for name in names]
    return markdown_table(["network", *cells], rows)


def mean_and_range(shares: Sequence[float]) -> str:
    """Write the mean of some runs' shares, and from the least to the most."""
    mean, low, high = (100 * share for share in (fmean(shares), min(shares), max(shares)))
    return f"{mean:.2f} % ({low:.2f}-{high:.2f})"


def claim_row(claim: Mapping[str, Any]) -> list[str]:
    """Write the row of a claim."""
    gain, runs = percent(Estimate(**claim["gain"]), "+"), " and ".join(map(str, claim["runs"]))
    return [claim["text"], claim["source"], runs, gain, p_value(claim["p"]), claim["verdict"]]


if __name__ == "__main__":
    raise SystemExit(main())
