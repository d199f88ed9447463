"""Does a network use time? Probes on MotionShapes, whose classes differ in nothing else.

Three trained networks are tested on plain clips and on clips whose frames come in another order.
Claims: of the clips that CoST labels correctly, `reversed` turns at least 90 % into the partner
class, the exact reversal; `shuffled` and `frozen` leave at most 60 % right. `reversed` changes no
score of C2D (released pools, an even number of frames) by more than 1e-5, and `reversed` and
`shuffled` none of TSN.

    uv run python benchmarks/time_probes.py        # on the runs of benchmarks/motion_shapes.py

A network without a checkpoint is trained first, as that benchmark does; a test that is newer than
its checkpoint is not repeated. The table is printed as Markdown; exit code 1 if a claim does not
hold.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from motion_shapes import CANDIDATES, PAIRS, measure
from numpy.typing import NDArray

from lightning_modules.cli import main as kinetoscope

ORDER = ("reversed", "shuffled", "frozen")
MORE = ("sparse(2)", "frame_drops(0.25)", "occlusion(0.25)", "motion_blur(0.1)")
PROBES = {
    "cost_a_tiny": (*ORDER, *MORE, "recompression(10)"),
    "c2d_tiny": ORDER,
    "tsn_tiny": ORDER,
}
"""Probes of each network."""
SAME_SCORES = 1e-5


@dataclass(frozen=True)
class Effect:
    """What a probe does to a network: percentages of videos.

    Attributes:
        top1: Accuracy under the probe.
        kept: Of the clips that are right without the probe, those that stay right.
        partner: Of the same, those that are called the partner class.
        change: Greatest change of a logit.
    """

    top1: float
    kept: float
    partner: float
    change: float


def main() -> int:
    """Test, print the table, and check the claims."""
    options = _options()
    effects: dict[tuple[str, str], Effect] = {}
    rows = []
    for network, probes in PROBES.items():
        plain = run_test(network, None, options)
        labels, logits, _ = read(plain)
        right = 100 * np.mean(guesses(logits) == labels)
        rows.append(f"| `{network}` | none | {right:.2f} % | | | |")
        for probe in probes:
            effect = compare(plain, run_test(network, probe, options))
            effects[network, probe] = effect
            rows.append(
                f"| `{network}` | `{probe}` | {effect.top1:.2f} % | {effect.kept:.2f} % | "
                f"{effect.partner:.2f} % | {effect.change:.1e} |"
            )
    print("\n".join(("", *_HEADER, *rows, "")), flush=True)
    failed = [claim for claim, holds in claims(effects).items() if not holds]
    for claim in failed:
        print(f"does not hold: {claim}", file=sys.stderr)
    return 1 if failed else 0


_HEADER = (
    "| network | probe | top-1 | right clips that stay right | that turn into the partner class | "
    "greatest change of a logit |",
    "|---|---|---|---|---|---|",
)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/motion_shapes"))
    parser.add_argument("--root", type=Path, default=Path("data/motion_shapes"))
    parser.add_argument("--epochs", type=int, default=12, help="of a training that is missing")
    return parser.parse_args()


def run_test(network: str, probe: str | None, options: argparse.Namespace) -> Path:
    """Test a network under a probe by the command line, and give its score file."""
    place = ("--data.root", str(options.root))
    found = next(c for c in CANDIDATES if c.network == network)
    candidate = replace(found, options=(*found.options, *place))
    run = options.folder / network / "0"
    checkpoint = run / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        measure(candidate, options.folder, options.epochs)
    part = "" if probe is None else "_" + probe.replace("(", "-").replace(")", "")
    scores = run / f"scores_test_1x1{part}.npz"
    if scores.is_file() and scores.stat().st_mtime > checkpoint.stat().st_mtime:
        return scores
    words = ["test", "--config", "configs/quickstart.yaml", "--model", candidate.module]
    words += ["--model.network", network, *candidate.options]
    words += [] if probe is None else ["--data.evaluation.probe", probe]
    kinetoscope([*words, "--ckpt_path", str(checkpoint)])
    return scores


def read(scores: Path) -> tuple[NDArray[np.int64], NDArray[np.float32], list[str]]:
    """Labels (N,), logits (N, K) of the one view, and class names of a score file."""
    with np.load(scores) as stored:
        return stored["labels"], stored["logits"][:, 0], stored["class_names"].tolist()


def guesses(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class of each video."""
    return np.asarray(logits.argmax(axis=1))


def compare(plain: Path, probed: Path) -> Effect:
    """What a probe did, video by video."""
    labels, before, names = read(plain)
    _, after, _ = read(probed)
    partner_of = np.array([_partner(names, name) for name in names])
    right = guesses(before) == labels
    now = guesses(after)
    return Effect(
        top1=100 * float(np.mean(now == labels)),
        kept=100 * float(np.mean(now[right] == labels[right])),
        partner=100 * float(np.mean(now[right] == partner_of[labels[right]])),
        change=float(np.abs(after - before).max()),
    )


def _partner(names: list[str], name: str) -> int:
    (pair,) = (pair for pair in PAIRS if name in pair)
    (other,) = pair - {name}
    return names.index(other)


def claims(effects: dict[tuple[str, str], Effect]) -> dict[str, bool]:
    """What is claimed, and whether it holds."""
    cost = {probe: effects["cost_a_tiny", probe] for probe in ORDER}
    return {
        "reversed turns 90 % of CoST's right clips into the partner class": (
            cost["reversed"].partner >= 90
        ),
        "shuffled leaves at most 60 % of CoST's right clips right": cost["shuffled"].kept <= 60,
        "frozen leaves at most 60 % of CoST's right clips right": cost["frozen"].kept <= 60,
        "reversed changes no score of C2D": (effects["c2d_tiny", "reversed"].change <= SAME_SCORES),
        "reversed changes no score of TSN": (effects["tsn_tiny", "reversed"].change <= SAME_SCORES),
        "shuffled changes no score of TSN": (effects["tsn_tiny", "shuffled"].change <= SAME_SCORES),
    }


if __name__ == "__main__":
    raise SystemExit(main())
