"""kinetoscope compare: several models on the same videos, with intervals and paired tests."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lightning_modules.console import ToolParser, fail, say
from lightning_modules.evaluation.comparison import compare
from lightning_modules.evaluation.fusion import (
    MAX_SEARCHED,
    Fusion,
    fuse,
    fuse_external,
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
from lightning_modules.reports.comparison import (
    accuracy_rows,
    external_sentence,
    fusion_sentence,
    paired_rows,
    protocol_notes,
    write_page,
    write_picture,
    write_tables,
)

PRINTED_CLASSES = 20
"""Classes of a probe's table that are printed; the files hold all."""


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `compare` and its options.
    """
    options = _parser().parse_args(words[1:])
    if options.replicates < 100:
        fail(f"--replicates {options.replicates} is too few for an interval; give at least 100")
    files = _files(options.contenders)
    external = _external(options.external)
    contest = read_contest(files, common=options.common, external=external.values())
    found = compare(contest, options.replicates, options.seed)
    fusion = _fusion(contest, options.weights)
    sentences = [] if fusion is None else [fusion_sentence(contest, fusion)]
    for name, path in external.items():
        fused = fuse_external(contest, read_external(path, contest, common=options.common))
        sentences += [external_sentence(name, model) for model in fused]
    _print("accuracy, % [95 % interval]", *accuracy_rows(contest, found))
    if found.against_first:
        _print(f"against {contest.contenders[0].name}", *paired_rows(contest, found))
    for probed in probed_contenders(contest):
        headings, rows = drop_rows(contest, found, probed)
        probe = contest.contenders[probed].protocol["probe"]
        title = f"what {probe} costs each class, %"
        _print(title, headings, rows[:PRINTED_CLASSES])
        if len(rows) > PRINTED_CLASSES:
            say(f"the {PRINTED_CLASSES} classes that lose most of {len(rows)}; all in drops.csv")
    notes = [*protocol_notes(contest), *reading_notes(contest), *unmatched_probes(contest)]
    for line in [*notes, *sentences]:
        say(line)
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    written = [
        *write_tables(contest, found, folder),
        write_picture(contest, found, folder),
        write_page(contest, found, sentences, folder),
    ]
    say("written: " + ", ".join(map(str, written)))


def _parser() -> ToolParser:
    parser = ToolParser(
        "compare",
        "Compare models by the score files that `kinetoscope test` wrote: top-1, top-5 and mean "
        "class accuracy with bootstrap intervals, McNemar's exact test and the paired bootstrap "
        "against the first one, the classes won and lost, late fusion. Videos are aligned by id, "
        "classes by name. Example: kinetoscope compare cost=runs/cost/0/scores_test_10x3.npz "
        "c3d=runs/c3d/0/scores_test_10x3.npz,runs/c3d/1/scores_test_10x3.npz",
    )
    parser.add_argument(
        "contenders",
        nargs="+",
        metavar="NAME=FILE[,FILE...]",
        help="score files under a name; several are seeds, whose spread enters the interval",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/compare"), help="folder for tables, picture and page"
    )
    parser.add_argument(
        "--weights",
        default="equal",
        help="of late fusion: 'equal', 'search' (on one half of the videos, reported on the "
        "other), or a number for each name, such as 1,1.5",
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
    parser.add_argument("--replicates", type=int, default=2000, help="bootstrap replicates")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
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


def _fusion(contest: Contest, weights: str) -> Fusion | None:
    """Fuse the models as asked; None for a single model, or for one model under probes."""
    count = len(contest.contenders)
    if weights == "equal":
        probed = any(contender.protocol.get("probe") for contender in contest.contenders)
        return fuse(contest, [1.0] * count) if count > 1 and not probed else None
    if count == 1:
        fail(f"--weights {weights} needs a second model to fuse with; leave it out, or name two")
    if weights == "search":
        if count > MAX_SEARCHED:
            fail(f"--weights search takes at most {MAX_SEARCHED} models, not {count}; give numbers")
        return search_fusion(contest)
    try:
        numbers = [float(word) for word in weights.split(",")]
    except ValueError:
        numbers = []
    usable = len(numbers) == count and min(numbers) >= 0 and np.isfinite(numbers).all()
    if not (usable and sum(numbers) > 0):
        fail(
            f"--weights {weights} is not one number from 0 on for each of {count} models; give "
            "'equal', 'search', or, say, " + ",".join(["1"] * count)
        )
    return fuse(contest, numbers)


def _print(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
