"""Which networks use time? Train each tiny one on MotionShapes and test it.

The classes of MotionShapes are pairs that are each other's exact reversal. A network that averages
frames can tell the pair but not the member: it stays near 50 %. A network that models motion can
reach 100 %. Every network gets the quickstart's clips, epochs and optimizer, with exceptions:
StNet, which takes super-images, gets the same number of frames as 4 segments of 2; SELFY's block,
which is made for a trained trunk, learns from the first step where nothing else sees motion; TSN
gets twice the epochs, as single frames show so little of a pair that after six it mistakes a
quarter of them.

    uv run python benchmarks/motion_shapes.py  # all: three seeds, two sets of kernels
    uv run python benchmarks/motion_shapes.py --networks tsm_tiny c2d_tiny --seeds 7
    uv run python benchmarks/motion_shapes.py --networks cost_a_tiny --seeds 0 1 2 3 4 --disturb

Finished runs are not done again: they lie below --folder, each with its log. The table is printed
as Markdown; exit code 1 if any run is outside its band.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from repeated_runs import Repeat, accuracy, add_options, repeats, run_all, spread

from models import count_parameters, get_model

LEARNS, CONTROL = (90.0, 100.0), (40.0, 60.0)


@dataclass(frozen=True)
class Candidate:
    """A network, the module that trains it, how it sees time, and where its accuracy must lie.

    `options` are what it needs beside the quickstart's settings, `epochs` those of its training.
    """

    network: str
    module: str
    sees_time_as: str
    band: tuple[float, float]
    options: tuple[str, ...] = ()
    epochs: int = 6


SUPER_IMAGES = (
    "--data.sampling.num_frames=null",
    "--data.sampling.frame_stride=null",
    "--data.sampling.num_segments=4",
    "--data.sampling.frames_per_segment=2",
)

FROM_NOTHING = ("--model.last_scale=1",)

CANDIDATES = [
    Candidate("cost_a_tiny", "CoSTModule", "three views, learned weights", LEARNS),
    Candidate("cost_b_tiny", "CoSTModule", "three views, predicted weights", LEARNS),
    Candidate("c3d_tiny", "BaselineModule", "3x1x1 convolutions", LEARNS),
    Candidate("tsm_tiny", "BaselineModule", "shifted channels", LEARNS),
    Candidate("selfy_tsm_tiny", "SELFYModule", "self-similarity and shifted channels", LEARNS),
    Candidate("selfy_tsn_tiny", "SELFYModule", "self-similarity alone", LEARNS, FROM_NOTHING),
    Candidate("stnet_tiny", "StNetModule", "super-images, temporal blocks", LEARNS, SUPER_IMAGES),
    Candidate("c2d_tiny", "BaselineModule", "order-blind pools (control)", CONTROL),
    Candidate("tsn_tiny", "BaselineModule", "an average of frames (control)", CONTROL, epochs=12),
]


@dataclass(frozen=True)
class Result:
    """What one run reached: video accuracy on the test clips, in percent."""

    network: str
    run: str
    top1: float
    pair: float
    minutes: float


def main() -> int:
    """Train, test and print."""
    options = _options()
    chosen = [c for c in CANDIDATES if not options.networks or c.network in options.networks]
    jobs = [
        partial(measure, candidate, repeat, options)
        for candidate in chosen
        for repeat in repeats(options)
    ]
    results: list[Result] = []
    for result in run_all(jobs, options.at_once):
        results.append(result)
        done = f"{len(results)} of {len(jobs)}: {result.network}, {result.run}"
        print(f"{done}: {result.top1:.2f} %, {result.minutes:.1f} minutes", flush=True)
    rows, outside = [], []
    for candidate in chosen:
        own = [result for result in results if result.network == candidate.network]
        rows.append(_row(candidate, own, options.epochs or candidate.epochs))
        low, high = candidate.band
        outside += [f"{r.network}, {r.run}" for r in own if not low <= r.top1 <= high]
    print("\n".join(("", *_HEADER, *rows)))
    if outside:
        print(f"outside their band: {'; '.join(outside)}", file=sys.stderr)
    return 1 if outside else 0


_HEADER = (
    "| network | sees time as | parameters | epochs | runs | test top-1: mean (range) | "
    "right pair | expected | minutes |",
    "|---|---|---|---|---|---|---|---|---|",
)


def _row(candidate: Candidate, results: list[Result], epochs: int) -> str:
    parameters = count_parameters(get_model(candidate.network, 8))
    low, high = candidate.band
    minutes = [result.minutes for result in results]
    return (
        f"| `{candidate.network}` | {candidate.sees_time_as} | {parameters:,} | {epochs} | "
        f"{len(results)} | {spread([r.top1 for r in results])} | "
        f"{spread([r.pair for r in results])} | {low:.0f}-{high:.0f} % | "
        f"{min(minutes):.1f}-{max(minutes):.1f} |"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = [candidate.network for candidate in CANDIDATES]
    parser.add_argument("--networks", nargs="*", choices=names, help="default: all")
    parser.add_argument("--folder", type=Path, default=Path("runs/motion_shapes"))
    parser.add_argument("--epochs", type=int, help="of every network, instead of its own")
    add_options(parser)
    return parser.parse_args()


def measure(candidate: Candidate, repeat: Repeat, options: argparse.Namespace) -> Result:
    """Train and test one network by the command line, once."""
    run = run_folder(candidate, repeat, options)
    stored, log = run / "result.json", run.with_suffix(".log")
    if stored.is_file():
        return Result(**json.loads(stored.read_text()))
    common = settings(candidate, options)
    place = ["--run.folder", str(options.folder)]
    place += ["--run.name", run.parent.name, "--run.version", run.name]
    started = time.perf_counter()
    repeat.kinetoscope(log, "fit", *common, *place, *repeat.fit_options())
    minutes = (time.perf_counter() - started) / 60
    repeat.kinetoscope(log, "test", *common, "--ckpt_path", str(run / "checkpoints" / "last.ckpt"))
    top1, pair = accuracy(run / "scores_test_1x1.npz")
    result = Result(candidate.network, repeat.name, top1, pair, minutes)
    stored.write_text(json.dumps(asdict(result)))
    return result


def run_folder(candidate: Candidate, repeat: Repeat, options: argparse.Namespace) -> Path:
    """Folder of one run."""
    folder: Path = options.folder
    epochs = options.epochs or candidate.epochs
    return folder / f"{candidate.network}_{epochs}_epochs" / repeat.name


def settings(candidate: Candidate, options: argparse.Namespace) -> list[str]:
    """Options of a training and of its tests."""
    words = ["--config", "configs/quickstart.yaml", "--model", candidate.module]
    words += ["--model.network", candidate.network]
    words += ["--trainer.max_epochs", str(options.epochs or candidate.epochs)]
    return [*words, "--data.root", str(options.data), *candidate.options]


if __name__ == "__main__":
    raise SystemExit(main())
