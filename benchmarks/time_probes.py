"""Does a network use time? Probes on MotionShapes, whose classes differ in nothing else.

Three trained networks are tested on plain clips and on clips whose frames come in another order.
Claims: of the clips that CoST labels correctly, `reversed` turns at least 90 % into the partner
class, the exact reversal; `shuffled` and `frozen` leave at most 60 % right. `reversed` changes no
score of C2D (released pools, an even number of frames) by more than 1e-5, and `reversed` and
`shuffled` none of TSN. `background`, the scene without the shape, brings all three to chance.

    uv run python benchmarks/time_probes.py        # on the runs of benchmarks/motion_shapes.py

A network without a checkpoint is trained first, as that benchmark does; a test that is newer than
its checkpoint is not repeated. The table is printed as Markdown; exit code 1 if a claim does not
hold in every run.
"""

import argparse
import itertools
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from motion_shapes import CANDIDATES, measure, run_folder, settings
from numpy.typing import NDArray
from repeated_runs import PAIRS, Repeat, add_options, repeats, run_all, spread

ORDER = ("reversed", "shuffled", "frozen")
SCENE = "background"
MORE = ("sparse(2)", "frame_drops(0.25)", "occlusion(0.25)", "motion_blur(0.1)")
PROBES = {
    "cost_a_tiny": (*ORDER, SCENE, *MORE, "recompression(10)"),
    "c2d_tiny": (*ORDER, SCENE),
    "tsn_tiny": (*ORDER, SCENE),
}
"""Probes of each network."""
SAME_SCORES = 1e-5
CHANCE, AROUND = 12.5, 5.0
"""Percent of eight classes, and three standard errors of it over 400 clips."""


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
    runs = repeats(options)
    trained = [candidate for candidate in CANDIDATES if candidate.network in PROBES]
    pairs = itertools.product(trained, runs)
    list(run_all([partial(measure, *pair, options) for pair in pairs], options.at_once))
    effects: dict[tuple[str, str], list[Effect]] = {}
    rows = []
    for network, probes in PROBES.items():
        plain = [run_test(network, None, repeat, options) for repeat in runs]
        right = []
        for scores in plain:
            labels, logits, _ = read(scores)
            right.append(100 * float(np.mean(guesses(logits) == labels)))
        rows.append(f"| `{network}` | none | {spread(right)} | | | |")
        for probe in probes:
            probed = [run_test(network, probe, repeat, options) for repeat in runs]
            found = [compare(*files) for files in zip(plain, probed, strict=True)]
            effects[network, probe] = found
            rows.append(_row(network, probe, found))
    print("\n".join(("", *_HEADER, *rows, "")), flush=True)
    failed = [claim for claim, holds in claims(effects).items() if not all(holds)]
    for claim in failed:
        print(f"does not hold in every run: {claim}", file=sys.stderr)
    return 1 if failed else 0


_HEADER = (
    "| network | probe | top-1: mean (range) | right clips that stay right | that turn into the "
    "partner class | greatest change of a logit |",
    "|---|---|---|---|---|---|",
)


def _row(network: str, probe: str, effects: list[Effect]) -> str:
    shares = [spread([getattr(e, name) for e in effects]) for name in ("top1", "kept", "partner")]
    change = max(effect.change for effect in effects)
    return f"| `{network}` | `{probe}` | {' | '.join(shares)} | {change:.1e} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/motion_shapes"))
    text = "of a training that is missing, instead of each network's own"
    parser.add_argument("--epochs", type=int, help=text)
    add_options(parser)
    return parser.parse_args()


def run_test(network: str, probe: str | None, repeat: Repeat, options: argparse.Namespace) -> Path:
    """Test a network under a probe by the command line, and give its score file."""
    candidate = next(c for c in CANDIDATES if c.network == network)
    run = run_folder(candidate, repeat, options)
    checkpoint = run / "checkpoints" / "last.ckpt"
    part = "" if probe is None else "_" + probe.replace("(", "-").replace(")", "")
    scores = run / f"scores_test_1x1{part}.npz"
    if scores.is_file() and scores.stat().st_mtime > checkpoint.stat().st_mtime:
        return scores
    for stale in run.glob(f"*_test_1x1{part}.*"):  # of an earlier training, which keeps its name
        stale.unlink()
    words = [] if probe is None else ["--data.evaluation.probe", probe]
    words = ["test", *settings(candidate, options), *words, "--ckpt_path", str(checkpoint)]
    repeat.kinetoscope(run.with_suffix(".log"), *words)
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


def claims(effects: dict[tuple[str, str], list[Effect]]) -> dict[str, list[bool]]:
    """What is claimed, and whether it holds in each run."""
    cost = {probe: effects["cost_a_tiny", probe] for probe in ORDER}
    held = {
        "reversed turns 90 % of CoST's right clips into the partner class": [
            effect.partner >= 90 for effect in cost["reversed"]
        ]
    }
    for probe in ("shuffled", "frozen"):
        held[f"{probe} leaves at most 60 % of CoST's right clips right"] = [
            effect.kept <= 60 for effect in cost[probe]
        ]
    for network in PROBES:
        held[f"{SCENE} brings {network} to chance"] = [
            abs(effect.top1 - CHANCE) <= AROUND for effect in effects[network, SCENE]
        ]
    for network, probe in (
        ("c2d_tiny", "reversed"),
        ("tsn_tiny", "reversed"),
        ("tsn_tiny", "shuffled"),
    ):
        held[f"{probe} changes no score of {network}"] = [
            effect.change <= SAME_SCORES for effect in effects[network, probe]
        ]
    return held


if __name__ == "__main__":
    raise SystemExit(main())
