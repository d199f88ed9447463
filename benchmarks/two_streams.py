"""Appearance, motion, and both: ST-ResNet's phases in small, trained on MotionShapes and tested.

The classes of MotionShapes are pairs that are each other's exact reversal, so frames taken one by
one tell the pair and not the member: the appearance stream stays near 50 %. Optical flow tells the
member. The two streams are trained alone, ST-ResNet starts from both, ST-ResNet* from it; the last
row is late fusion of the two streams' score files, as `kinetoscope compare` does it.

    uv run python benchmarks/two_streams.py  # exact flow; three seeds, two sets of kernels
    uv run --extra flow python benchmarks/two_streams.py --method dis      # flow that was estimated
    uv run python benchmarks/two_streams.py --variants --seeds 0 1 2 3 4  # what the paper tried too
    uv run python benchmarks/two_streams.py --variants neither direct     # some of it

The variants start from the same two streams as ST-ResNet, with its settings; the mean over time
starts from ST-ResNet, as ST-ResNet* does. The paper compares them in words alone, so nothing is
expected of them; the test loss tells them apart where accuracies are all near 100 %.

Finished runs are not done again: they lie below --folder, each with its log. The table is printed
as Markdown; exit code 1 if any run is outside its band.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from repeated_runs import Repeat, accuracy, add_options, repeats, run_all, spread

from lightning_modules.evaluation.fusion import Fusion, fuse
from lightning_modules.evaluation.score_files import read_contest
from models import count_parameters, get_model

LEARNS, CONTROL = (95.0, 100.0), (40.0, 60.0)
LENGTH = 4
"""Flow fields of a stack, L: MotionShapes has 24 in a clip."""

SETTINGS = ("--data.augmentation.reversals=false", "--data.loading.batch_size=32")
SETTINGS += ("--model.classifier_std=null", "--model.optimization.optimizer=sgd")
SETTINGS += ("--model.optimization.betas=[0.9,0.999]", "--model.optimization.nesterov=true")
SETTINGS += ("--model.optimization.weight_decay=5.0e-4", "--model.optimization.warmup_epochs=1")
"""What the phases have in the place of the quickstart's: flow cannot be reversed."""


@dataclass(frozen=True)
class Phase:
    """A training: the network, what is special, what it starts from, where its accuracy must lie.

    `options` go beside `SETTINGS` and the quickstart's own; `starts_from` names phases before it,
    `variant` holds options of the network. Without a band, nothing is expected.
    """

    name: str
    network: str
    band: tuple[float, float] | None
    epochs: int
    options: tuple[str, ...]
    starts_from: tuple[str, ...] = ()
    variant: Mapping[str, bool | str] = field(default_factory=dict)

    @property
    def takes_flow(self) -> bool:
        """Whether flow is among its inputs."""
        return self.network != "rgb_stream_tiny"

    @property
    def words(self) -> list[str]:
        """Options of the command line, those of the network among them."""
        chosen = self.variant.items()
        values = {name: v if isinstance(v, str) else json.dumps(v) for name, v in chosen}
        return [*self.options, *(f"--model.{name}={value}" for name, value in values.items())]


JOINED = (
    *("--data.sampling.num_frames=5", "--data.sampling.frame_stride=1"),
    *("--data.sampling.max_frame_stride=4", "--data.sampling.test_frames=9"),
)
POOLED = (
    *("--data.sampling.num_frames=7", "--data.sampling.frame_stride=1"),
    *("--data.sampling.max_frame_stride=3", "--data.sampling.test_frames=9"),
)
RATE, POOLED_RATE = "--model.optimization.lr=0.005", "--model.optimization.lr=0.002"
STREAMS = ("motion", "appearance")

PHASES = [
    Phase(
        "motion",
        "flow_stream_tiny",
        LEARNS,
        2,
        (
            "--data.sampling.num_frames=1",
            "--data.sampling.frame_stride=1",
            "--data.sampling.test_frames=9",
            "--model.optimization.lr=0.05",
        ),
    ),
    # the first and the last frame, where appearance tells most
    Phase(
        "appearance",
        "rgb_stream_tiny",
        CONTROL,
        6,
        (
            *(
                "--data.sampling.num_frames=2",
                "--data.sampling.frame_stride=24",
                "--data.sampling.test_frames=2",
            ),
            "--model.optimization.lr=0.05",
        ),
    ),
    Phase(
        "st_resnet",
        "st_resnet_tiny",
        LEARNS,
        1,
        (*JOINED, RATE),
        STREAMS,
    ),
    Phase(
        "star",
        "st_resnet_tiny",
        LEARNS,
        1,
        (*POOLED, POOLED_RATE),
        ("st_resnet",),
        {"star": True},
    ),
]


def _variant(name: str, *options: str, **variant: bool | str) -> Phase:
    """Make a variant of ST-ResNet."""
    return Phase(name, "st_resnet_tiny", None, 1, (*JOINED, *options), STREAMS, variant)


VARIANTS = [
    _variant("links_only", RATE, temporal_convolutions=False),
    _variant("temporal_only", RATE, links="none"),
    _variant("neither", RATE, links="none", temporal_convolutions=False),
    _variant("direct", RATE, links="direct"),
    _variant("bidirectional", RATE, links="bidirectional"),
    _variant("appearance_to_motion", RATE, links="appearance_to_motion"),
    # a stream's logits get half of the gradient of a loss of their own: twice the rate
    _variant("joint_softmax", "--model.optimization.lr=0.01", "--model.joint_softmax=true"),
    Phase(
        "mean",
        "st_resnet_tiny",
        None,
        1,
        (*POOLED, POOLED_RATE),
        ("st_resnet",),
        {"star": True, "star_pool": "mean"},
    ),
]
"""What the paper tried, beside `st_resnet` and `star`, which are the published ones."""


@dataclass(frozen=True)
class Result:
    """What a phase reached: accuracy on the test clips, in percent, and their cross-entropy."""

    top1: float
    pair: float
    loss: float
    minutes: float


@dataclass(frozen=True)
class Chain:
    """What all phases of one run reached, and the late fusion of its first two."""

    run: str
    phases: dict[str, Result]
    fusion: Fusion


def main() -> int:
    """Train, test and print."""
    options = _options()
    jobs = [partial(_run, repeat, options) for repeat in repeats(options)]
    options.flow_root = _estimate(options.data, options.folder, options.method)
    chains: list[Chain] = []
    for chain in run_all(jobs, options.at_once):
        chains.append(chain)
        reached = ", ".join(f"{name} {r.top1:.2f} %" for name, r in chain.phases.items())
        print(f"{len(chains)} of {len(jobs)}: {chain.run}: {reached}", flush=True)
    print("\n".join(("", *_HEADER, *(_row(phase, chains) for phase in options.phases))))
    fused, alone = (
        [100 * getattr(chain.fusion, name) for chain in chains] for name in ("top1", "best_single")
    )
    print(
        f"\nlate fusion of appearance and motion: {spread(fused)}, the better of them alone "
        f"{spread(alone)} ({chains[0].fusion.videos} videos)"
    )
    outside = [fault for chain in chains for fault in _faults(chain)]
    if outside:
        print(f"outside their band: {'; '.join(outside)}", file=sys.stderr)
    return 1 if outside else 0


_HEADER = (
    "| phase | network | starts from | epochs | parameters | runs | test top-1: mean (range) | "
    "right pair | test loss | expected | minutes |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def _row(phase: Phase, chains: list[Chain]) -> str:
    results = [chain.phases[phase.name] for chain in chains]
    parameters = count_parameters(get_model(phase.network, 8, **_arguments(phase)))
    start = " and ".join(phase.starts_from) or "chance"
    minutes = [result.minutes for result in results]
    losses = [result.loss for result in results]
    expected = f"{phase.band[0]:.0f}-{phase.band[1]:.0f} %" if phase.band else "-"
    return (
        f"| {phase.name} | `{phase.network}` | {start} | {phase.epochs} | {parameters:,} | "
        f"{len(results)} | {spread([r.top1 for r in results])} | "
        f"{spread([r.pair for r in results])} | "
        f"{np.mean(losses):.4f} ({min(losses):.4f}-{max(losses):.4f}) | {expected} | "
        f"{min(minutes):.1f}-{max(minutes):.1f} |"
    )


def _faults(chain: Chain) -> list[str]:
    """Say what of a run is outside its band."""
    outside = [
        f"{phase.name}, {chain.run}"
        for phase in PHASES
        if phase.band and not phase.band[0] <= chain.phases[phase.name].top1 <= phase.band[1]
    ]
    if chain.fusion.top1 < chain.fusion.best_single:
        outside.append(f"late fusion, {chain.run}")
    return outside


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/two_streams"))
    text = "exact flow, or flow that is first computed from the videos by this method"
    parser.add_argument(
        "--method", choices=("rendered", "dis", "tvl1"), default="rendered", help=text
    )
    names = [variant.name for variant in VARIANTS]
    text = "variants of ST-ResNet to train beside the phases; all of them where none is named"
    parser.add_argument("--variants", nargs="*", choices=names, help=text)
    add_options(parser)
    options = parser.parse_args()
    options.folder = options.folder / options.method
    wanted = options.variants or ([] if options.variants is None else names)
    options.phases = [*PHASES, *(variant for variant in VARIANTS if variant.name in wanted)]
    return options


def _estimate(data: Path, folder: Path, method: str) -> Path | None:
    """Compute flow, where it is not to be the exact one, and say where it lies."""
    if method == "rendered":
        return None
    target = folder / "flow"
    words = ["flow", str(data), str(target), "--method", method, "--short_side", "64"]
    subprocess.run([sys.executable, "-m", "lightning_modules", *words], check=True)
    return target


def _run(repeat: Repeat, options: argparse.Namespace) -> Chain:
    """Train and test all phases, once."""
    folder = options.folder / repeat.name
    results = {}
    for phase in options.phases:
        results[phase.name] = _measure(phase, repeat, folder, options)
    return Chain(repeat.name, results, _fuse(folder))


def _measure(phase: Phase, repeat: Repeat, folder: Path, options: argparse.Namespace) -> Result:
    """Train and test a phase by the command line, once."""
    run, log = folder / phase.name / "0", folder / f"{phase.name}.log"
    scores = run / "scores_test_1x1.npz"
    taken = run / "minutes.txt"
    if not scores.is_file():
        common = ["--config", "configs/quickstart.yaml", "--model", "STResNetModule"]
        common += ["--model.network", phase.network, "--trainer.max_epochs", str(phase.epochs)]
        common += ["--data.root", str(options.data), *SETTINGS, *phase.words]
        common += _flow_options(phase, options.flow_root)
        sources = [str(folder / name / "0" / "checkpoints/last.ckpt") for name in phase.starts_from]
        start = [f"--model.init_from={_as_list(sources)}"] if sources else []
        place = ["--run.folder", str(folder), "--run.name", phase.name, "--run.version", "0"]
        started = time.perf_counter()
        repeat.kinetoscope(log, "fit", *common, *start, *place, *repeat.fit_options())
        taken.write_text(f"{(time.perf_counter() - started) / 60:.2f}")
        last = str(run / "checkpoints" / "last.ckpt")
        repeat.kinetoscope(log, "test", *common, "--ckpt_path", last)
    return Result(*accuracy(scores), _cross_entropy(scores), float(taken.read_text()))


def _cross_entropy(scores: Path) -> float:
    """Mean loss of the test videos, of their mean logits over the views."""
    with np.load(scores) as stored:
        logits, labels = torch.tensor(stored["logits"]), torch.tensor(stored["labels"])
    return float(torch.nn.functional.cross_entropy(logits.float().mean(1), labels.long()))


def _flow_options(phase: Phase, flow_root: Path | None) -> list[str]:
    if not phase.takes_flow:
        return []
    options = [f"--data.flow.length={LENGTH}", f"--model.flow_length={LENGTH}"]
    return options if flow_root is None else [*options, f"--data.flow.root={flow_root}"]


def _as_list(paths: list[str]) -> str:
    return "[" + ", ".join(paths) + "]"


def _arguments(phase: Phase) -> dict[str, bool | int | str]:
    return {**phase.variant, "flow_length": LENGTH} if phase.takes_flow else {}


def _fuse(folder: Path) -> Fusion:
    """Late fusion of the two streams, with equal weights."""
    names = ("appearance", "motion")
    files = {name: [folder / name / "0" / "scores_test_1x1.npz"] for name in names}
    return fuse(read_contest(files), [1.0, 1.0])


if __name__ == "__main__":
    raise SystemExit(main())
