"""Which networks use time? Train each tiny one on MotionShapes and test it.

The classes of MotionShapes are pairs that are each other's exact reversal. A network that averages
frames can tell the pair but not the member: it stays near 50 %. A network that models motion can
reach 100 %. Every network gets the quickstart's clips, epochs and optimizer, with two exceptions.
StNet, which takes super-images, takes the same number of frames as 4 segments of 2 and half the
learning rate. TSM, TSN and SELFY on TSN get twice the epochs: they learn slowly at first.

    uv run python benchmarks/motion_shapes.py  # all
    uv run python benchmarks/motion_shapes.py --networks tsm_tiny c2d_tiny

Finished networks are not trained again: the runs lie below --folder. The table is printed as
Markdown; exit code 1 if a network is outside its band.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models import count_parameters, get_model

LEARNS, CONTROL = (90.0, 100.0), (40.0, 60.0)


@dataclass(frozen=True)
class Candidate:
    """A network, the module that trains it, how it sees time, and where its accuracy must lie.

    `options` are what it needs beside the quickstart's settings; it trains for `periods` times the
    epochs of the others.
    """

    network: str
    module: str
    sees_time_as: str
    band: tuple[float, float]
    options: tuple[str, ...] = ()
    periods: int = 1


SUPER_IMAGES = (
    "--data.sampling.num_frames=null",
    "--data.sampling.frame_stride=null",
    "--data.sampling.num_segments=4",
)
SUPER_IMAGES += ("--data.sampling.frames_per_segment=2", "--model.optimization.lr=0.05")


CANDIDATES = [
    Candidate("cost_a_tiny", "CoSTModule", "three views, learned weights", LEARNS),
    Candidate("cost_b_tiny", "CoSTModule", "three views, predicted weights", LEARNS),
    Candidate("c3d_tiny", "BaselineModule", "3x1x1 convolutions", LEARNS),
    Candidate("tsm_tiny", "BaselineModule", "shifted channels", LEARNS, periods=2),
    Candidate("selfy_tsm_tiny", "SELFYModule", "self-similarity and shifted channels", LEARNS),
    Candidate("selfy_tsn_tiny", "SELFYModule", "self-similarity alone", LEARNS, periods=2),
    Candidate("stnet_tiny", "StNetModule", "super-images, temporal blocks", LEARNS, SUPER_IMAGES),
    Candidate("c2d_tiny", "BaselineModule", "order-blind pools (control)", CONTROL),
    Candidate("tsn_tiny", "BaselineModule", "an average of frames (control)", CONTROL, periods=2),
]


@dataclass(frozen=True)
class Result:
    """What one network reached: video accuracy on the test clips, in percent."""

    network: str
    top1: float
    pair: float
    parameters: int
    minutes: float


def main() -> int:
    """Train, test and print."""
    options = _options()
    chosen = [c for c in CANDIDATES if not options.networks or c.network in options.networks]
    rows, outside = [], []
    for candidate in chosen:
        epochs = candidate.periods * options.epochs
        result = measure(candidate, options.folder, epochs)
        low, high = candidate.band
        if not low <= result.top1 <= high:
            outside.append(candidate.network)
        rows.append(
            f"| `{candidate.network}` | {candidate.sees_time_as} | {result.parameters:,} | "
            f"{epochs} | {result.top1:.2f} % | {result.pair:.2f} % | {low:.0f}-{high:.0f} % | "
            f"{result.minutes:.1f} |"
        )
        print("\n".join(("", *_HEADER, *rows, "")), flush=True)
    if outside:
        print(f"outside their band: {', '.join(outside)}", file=sys.stderr)
    return 1 if outside else 0


_HEADER = (
    "| network | sees time as | parameters | epochs | test top-1 | pair | expected | minutes |",
    "|---|---|---|---|---|---|---|---|",
)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = [candidate.network for candidate in CANDIDATES]
    parser.add_argument("--networks", nargs="*", choices=names, help="default: all")
    parser.add_argument("--folder", type=Path, default=Path("runs/motion_shapes"))
    parser.add_argument("--epochs", type=int, default=12)
    return parser.parse_args()


def measure(candidate: Candidate, folder: Path, epochs: int) -> Result:
    """Train and test one network by the command line, once."""
    run = folder / candidate.network / "0"
    stored = run / f"result_{epochs}_epochs.json"
    if stored.is_file():
        return Result(**json.loads(stored.read_text()))
    common = ["--config", "configs/quickstart.yaml", "--model", candidate.module]
    common += ["--model.network", candidate.network, "--trainer.max_epochs", str(epochs)]
    common += candidate.options
    started = time.perf_counter()
    place = ["--run.folder", str(folder), "--run.name", candidate.network, "--run.version", "0"]
    _kinetoscope("fit", *common, *place)
    minutes = (time.perf_counter() - started) / 60
    _kinetoscope("test", *common, "--ckpt_path", str(run / "checkpoints" / "last.ckpt"))
    top1, pair = accuracy(run / "scores_test_1x1.npz")
    parameters = count_parameters(get_model(candidate.network, 8))
    result = Result(candidate.network, top1, pair, parameters, minutes)
    stored.write_text(json.dumps(asdict(result)))
    return result


def _kinetoscope(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "lightning_modules", *words], check=True)


PAIRS = (
    {"move_left", "move_right"},
    {"move_up", "move_down"},
    {"turn_clockwise", "turn_anticlockwise"},
    {"grow", "shrink"},
)


def accuracy(scores: Path) -> tuple[float, float]:
    """Share of test videos with the right class, and with a class of the right pair, in percent."""
    with np.load(scores) as stored:
        labels, names = stored["labels"], [str(name) for name in stored["class_names"]]
        best = stored["logits"].mean(axis=1).argmax(axis=1)
    pair_of = np.array([next(i for i, pair in enumerate(PAIRS) if name in pair) for name in names])
    same_pair = pair_of[best] == pair_of[labels]
    return 100 * float(np.mean(best == labels)), 100 * float(np.mean(same_pair))


if __name__ == "__main__":
    raise SystemExit(main())
