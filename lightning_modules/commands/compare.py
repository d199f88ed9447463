"""kinetoscope compare: several models on the same videos, with intervals and paired tests."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lightning_modules.console import ToolParser, fail, say
from lightning_modules.evaluation.comparison import compare
from lightning_modules.evaluation.fusion import (
    FUSED,
    MAX_SEARCHED,
    Fused,
    Fusion,
    fuse,
    fuse_external,
    runs_match,
    search_fusion,
)
from lightning_modules.evaluation.probe_drops import (
    drop_rows,
    probed_contenders,
    unmatched_probes,
)
from lightning_modules.evaluation.score_files import (
    Contest,
    read_contest,
    read_external,
    reading_notes,
)
from lightning_modules.evaluation.several_labels.comparison import compare_several
from lightning_modules.reports.compare.files import write_picture, write_tables
from lightning_modules.reports.compare.page import write_page
from lightning_modules.reports.compare.rows import (
    BEYOND,
    accuracy_rows,
    beyond_rows,
    caution_notes,
    external_sentence,
    fusion_sentence,
    paired_rows,
    protocol_notes,
)
from lightning_modules.reports.several_labels.tables import gain_rows, result_rows, write_results

PRINTED_CLASSES = 20
"""Classes of a probe's table that are printed; the files hold all."""


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `compare` and its options.
    """
    options = _parser().parse_args(words[1:])
    files, external = _files(options.contenders), _external(options.external)
    contest = read_contest(files, common=options.common, external=external.values())
    if not contest.form.is_single:
        _compare_several(contest, options)
        return
    found = compare(contest)
    fusion = _fusion(contest, options.weights, options.fuse)
    sentences = [] if fusion is None else [fusion_sentence(contest, fusion)]
    for name, path in external.items():
        fused = fuse_external(contest, read_external(path, contest, common=options.common))
        sentences += [external_sentence(name, model) for model in fused]
    _print("accuracy, % [95 % interval]", *accuracy_rows(contest, found))
    if found.against_first:
        _print(f"against {contest.contenders[0].name}", *paired_rows(contest, found))
    _print(BEYOND.lower(), *beyond_rows(contest, found))
    for probed in probed_contenders(contest):
        headings, rows = drop_rows(contest, found, probed)
        probe = contest.contenders[probed].protocol["probe"]
        title = f"what {probe} costs each class, %"
        _print(title, headings, rows[:PRINTED_CLASSES])
        if len(rows) > PRINTED_CLASSES:
            say(f"the {PRINTED_CLASSES} classes that lose most of {len(rows)}; all in drops.csv")
    notes = [*caution_notes(contest), *protocol_notes(contest), *reading_notes(contest)]
    for line in [*notes, *unmatched_probes(contest), *sentences]:
        say(line)
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    written = [
        *write_tables(contest, found, folder),
        write_picture(contest, found, folder),
        write_page(contest, found, sentences, folder),
    ]
    say("written: " + ", ".join(map(str, written)))


def _compare_several(contest: Contest, options: argparse.Namespace) -> None:
    """Compare models on videos with several classes; without fusion, calibration and page."""
    if options.external or (options.weights, options.fuse) != ("equal", FUSED[0]):
        fail(
            f"--external, --weights and --fuse are for scores of one class of a video, and these "
            f"are of {contest.form}; leave them out"
        )
    found = compare_several(contest)
    _print("% [95 % interval]", *result_rows(contest, found))
    if found.gains:
        _print(f"against {contest.contenders[0].name}", *gain_rows(contest, found))
    for line in [*caution_notes(contest), *protocol_notes(contest), *reading_notes(contest)]:
        say(line)
    options.out.mkdir(parents=True, exist_ok=True)
    written = write_results(contest, found, options.out)
    say("written: " + ", ".join(map(str, written)))


def _parser() -> ToolParser:
    parser = ToolParser(
        "compare",
        "Compare models by the score files that `kinetoscope test` wrote: top-1, top-5 and mean "
        "class accuracy with 95 % intervals, paired tests against the first one, the classes won "
        "and lost, calibration, late fusion. Videos are aligned by id, classes by name; videos of "
        "one scene, source video or person count as one group. Example: kinetoscope compare "
        "cost=runs/cost/0/scores_test_10x3.npz,runs/cost/1/scores_test_10x3.npz "
        "c3d=runs/c3d/0/scores_test_10x3.npz,runs/c3d/1/scores_test_10x3.npz",
    )
    parser.add_argument(
        "contenders",
        nargs="+",
        metavar="NAME=FILE[,FILE...]",
        help="score files under a name; several are runs (seeds) of one method, whose differences "
        "enter interval and p",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/compare"), help="folder for tables, picture and page"
    )
    parser.add_argument(
        "--weights",
        default="equal",
        help="of late fusion: 'equal', 'search' (on one half of the groups of videos, reported on "
        "the other), or a number for each name, such as 1,1.5",
    )
    parser.add_argument(
        "--fuse",
        choices=FUSED,
        default="probabilities",
        help="what late fusion averages: probabilities, or logits as ST-ResNet's two streams; run "
        "i of one model with run i of the others",
    )
    parser.add_argument(
        "--external",
        nargs="*",
        default=[],
        metavar="NAME=FILE",
        help="scores of another method (CSV or npz) to average with each model's, each scaled to "
        "length 1 per video, as ST-ResNet's with those of improved trajectories",
    )
    parser.add_argument(
        "--common",
        action="store_true",
        help="compare on the videos that all files share; without it, other videos are refused",
    )
    return parser


def _files(contenders: Sequence[str]) -> dict[str, list[Path]]:
    """Read the score files by name."""
    files: dict[str, list[Path]] = {}
    for word in contenders:
        name, equals, paths = word.partition("=")
        if not (name and equals and paths):
            fail(f"{word!r} is no NAME=FILE; give, say, cost=runs/cost/0/scores_test_1x1.npz")
        if name in files:
            fail(f"the name {name} is given twice; list the files of seeds as {name}=FILE,FILE")
        files[name] = [Path(path) for path in paths.split(",")]
        if len(set(files[name])) < len(files[name]):
            fail(f"{name} names a file twice; give one file for each seed")
    return files


def _external(words: Sequence[str]) -> dict[str, Path]:
    """Read the files of external scores by name."""
    files: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path) or name in files:
            fail(f"--external {word!r} is no NAME=FILE, or names one twice; give, say, idt=idt.csv")
        files[name] = Path(path)
    return files


def _fusion(contest: Contest, weights: str, fused: Fused) -> Fusion | None:
    """Fuse the models as asked.

    Returns:
        None where nothing was asked for and there is one model, a probe, or runs do not match.
    """
    count = len(contest.contenders)
    if weights == "equal":
        probed = any(contender.protocol.get("probe") for contender in contest.contenders)
        usable = count > 1 and not probed and runs_match(contest)
        return fuse(contest, [1.0] * count, fused) if usable else None
    if count == 1:
        fail(f"--weights {weights} needs a second model to fuse with; leave it out, or name two")
    if not runs_match(contest):
        listed = ", ".join(f"{c.name} {len(c.scores)}" for c in contest.contenders)
        fail(
            f"--weights {weights} fuses run i of one model with run i of the others, and their "
            f"runs are {listed}; give as many files for each, or one"
        )
    if weights == "search":
        if count > MAX_SEARCHED:
            fail(f"--weights search takes at most {MAX_SEARCHED} models, not {count}; give numbers")
        return search_fusion(contest, fused)
    try:
        numbers = [float(word) for word in weights.split(",")]
    except ValueError:
        numbers = []
    fits = len(numbers) == count and min(numbers) >= 0 and bool(np.isfinite(numbers).all())
    if not (fits and sum(numbers) > 0):
        fail(
            f"--weights {weights} is not one number from 0 on for each of {count} models; give "
            "'equal', 'search', or, say, " + ",".join(["1"] * count)
        )
    return fuse(contest, numbers, fused)


def _print(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
