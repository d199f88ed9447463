"""kinetoscope benchmark: does a network use the order of frames? An answer on known clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from datamodules.errors import as_storage_error
from datamodules.motion_shapes.rendering import Look
from lightning_modules.benchmarking.entries import CONTROL, read_entries
from lightning_modules.benchmarking.plan import WAYS, Plan
from lightning_modules.benchmarking.report import (
    HEADINGS,
    SHOWN,
    THRESHOLD_HEADINGS,
    known_sentence,
    result_rows,
    threshold_rows,
    write_report,
)
from lightning_modules.benchmarking.results import collect, read_looks
from lightning_modules.benchmarking.runs import run_all
from lightning_modules.benchmarking.thresholds import AXES, HALF_WAY
from lightning_modules.console import OTHER_FOLDER, ToolParser, fail, say

DESCRIPTION = f"""\
Does a network use the order of frames? Train it on MotionShapes, whose classes are each other's
exact reversal, by one fixed recipe with several seeds, and hold it against what is known: who sees
the motion has all clips right, who is blind to order half of them. Beside every network stands
{CONTROL}, which is blind. A run that was stopped is continued by the same command.

  kinetoscope benchmark tsm_tiny
  kinetoscope benchmark torchvision:r3d_18 --seeds 0 1 2
  kinetoscope benchmark mine=runs/mine/0/checkpoints/last.ckpt --ways probe as_is
  kinetoscope benchmark cost_a_tiny c3d_tiny --looks noise -- --data.num_train=800

Words behind -- are options that every training has beside the recipe's.
"""


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `benchmark` and its options.
    """
    own, extra = list(words[1:]), []
    if "--" in own:
        at = own.index("--")
        own, extra = own[:at], own[at + 1 :]
    options = _parser().parse_args(own)
    if len(set(options.seeds)) < len(options.seeds):
        fail("--seeds names a seed twice; name each once")
    plan = Plan(
        options.out,
        options.data or options.out / "data",
        read_entries(options.networks),
        options.looks,
        options.ways,
        options.seeds,
        options.axes,
        extra,
    )
    with as_storage_error(options.out, OTHER_FOLDER):
        plan.settle()
        try:
            run_all(plan, say)
        finally:
            _report(plan)


def _report(plan: Plan) -> None:
    """Write and print all that is done in the folder."""
    read = read_looks(plan.out)
    results = collect(plan.out, plan.data, read)
    for look, found in results["looks"].items():
        rows = [row[:SHOWN] for row in result_rows(found["rows"])]
        _print(f"{look}: {found['videos']} test clips", HEADINGS[:SHOWN], rows)
        say(known_sentence(found["known"]))
        if rows := threshold_rows(found["axes"]):
            _print(f"{look}: {100 * HALF_WAY:.0f} % right at", THRESHOLD_HEADINGS, rows)
    say("written: " + ", ".join(map(str, write_report(plan.out, results, read))))


def _print(title: str, headings: list[str], rows: list[list[str]]) -> None:
    table = Table(*headings, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _parser() -> ToolParser:
    parser = ToolParser("benchmark", DESCRIPTION)
    add = parser.add_argument
    text = "network by name, or the checkpoint of a trained one"
    add("networks", nargs="+", metavar="[NAME=]NETWORK", help=text)
    add("--out", type=Path, default=Path("runs/benchmark"), help="folder of runs and results")
    text = "folder of the clips, one below it for each look; made where they are not (OUT/data)"
    add("--data", type=Path, metavar="DIR", help=text)
    text = "of the clips: a shape over colours, or moving noise, of which no frame tells anything"
    add("--looks", nargs="+", choices=get_args(Look), default=list(get_args(Look)), help=text)
    text = "; ".join(f"{way}: {told}" for way, told in WAYS.items())
    add("--ways", nargs="+", choices=list(WAYS), default=["train"], help=text)
    text = "test what was trained on clips that are harder to see, and fit a threshold"
    add("--axes", nargs="+", choices=list(AXES), default=[], help=text)
    text = "seeds of the training; three or more tell how runs differ"
    add("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], metavar="SEED", help=text)
    return parser
