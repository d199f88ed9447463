"""Appearance, motion, and both: ST-ResNet's phases in small, trained on MotionShapes and tested.

The classes of MotionShapes are pairs that are each other's exact reversal, so frames taken one by
one tell the pair and not the member: the appearance stream stays near 50 %. Optical flow tells the
member. The two streams are trained alone, ST-ResNet starts from both, ST-ResNet* from it; the last
row is late fusion of the two streams' score files, as `kinetoscope compare` does it.

    uv run python benchmarks/two_streams.py  # exact flow; three seeds, two sets of kernels
    uv run --extra flow python benchmarks/two_streams.py --method dis      # flow that was estimated

Finished runs are not done again: they lie below --folder, each with its log. The table is printed
as Markdown; exit code 1 if any run is outside its band.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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

    `options` go beside `SETTINGS` and the quickstart's own; `starts_from` names phases before it.
    """

    name: str
    network: str
    band: tuple[float, float]
    epochs: int
    options: tuple[str, ...]
    starts_from: tuple[str, ...] = ()

    @property
    def takes_flow(self) -> bool:
        """Whether flow is among its inputs."""
        return self.network != "rgb_stream_tiny"


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
        (
            *(
                "--data.sampling.num_frames=5",
                "--data.sampling.frame_stride=1",
                "--data.sampling.max_frame_stride=4",
            ),
            *("--data.sampling.test_frames=9", "--model.optimization.lr=0.005"),
        ),
        ("motion", "appearance"),
    ),
    Phase(
        "star",
        "st_resnet_tiny",
        LEARNS,
        1,
        (
            *(
                "--data.sampling.num_frames=7",
                "--data.sampling.frame_stride=1",
                "--data.sampling.max_frame_stride=3",
            ),
            *(
                "--data.sampling.test_frames=9",
                "--model.optimization.lr=0.002",
                "--model.star=true",
            ),
        ),
        ("st_resnet",),
    ),
]


@dataclass(frozen=True)
class Result:
    """What a phase reached: video accuracy on the test clips, in percent."""

    top1: float
    pair: float
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
    print("\n".join(("", *_HEADER, *(_row(phase, chains) for phase in PHASES))))
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
    "right pair | expected | minutes |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def _row(phase: Phase, chains: list[Chain]) -> str:
    results = [chain.phases[phase.name] for chain in chains]
    parameters = count_parameters(get_model(phase.network, 8, **_arguments(phase)))
    start = " and ".join(phase.starts_from) or "chance"
    minutes = [result.minutes for result in results]
    low, high = phase.band
    return (
        f"| {phase.name} | `{phase.network}` | {start} | {phase.epochs} | {parameters:,} | "
        f"{len(results)} | {spread([r.top1 for r in results])} | "
        f"{spread([r.pair for r in results])} | {low:.0f}-{high:.0f} % | "
        f"{min(minutes):.1f}-{max(minutes):.1f} |"
    )


def _faults(chain: Chain) -> list[str]:
    """Say what of a run is outside its band."""
    bands = {phase.name: phase.band for phase in PHASES}
    outside = [
        f"{name}, {chain.run}"
        for name, result in chain.phases.items()
        if not bands[name][0] <= result.top1 <= bands[name][1]
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
    add_options(parser)
    options = parser.parse_args()
    options.folder = options.folder / options.method
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
    for phase in PHASES:
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
        common += ["--data.root", str(options.data), *SETTINGS, *phase.options]
        common += _flow_options(phase, options.flow_root)
        sources = [str(folder / name / "0" / "checkpoints/last.ckpt") for name in phase.starts_from]
        start = [f"--model.init_from={_as_list(sources)}"] if sources else []
        place = ["--run.folder", str(folder), "--run.name", phase.name, "--run.version", "0"]
        started = time.perf_counter()
        repeat.kinetoscope(log, "fit", *common, *start, *place, *repeat.fit_options())
        taken.write_text(f"{(time.perf_counter() - started) / 60:.2f}")
        last = str(run / "checkpoints" / "last.ckpt")
        repeat.kinetoscope(log, "test", *common, "--ckpt_path", last)
    return Result(*accuracy(scores), float(taken.read_text()))


def _flow_options(phase: Phase, flow_root: Path | None) -> list[str]:
    if not phase.takes_flow:
        return []
    options = [f"--data.flow.length={LENGTH}", f"--model.flow_length={LENGTH}"]
    return options if flow_root is None else [*options, f"--data.flow.root={flow_root}"]


def _as_list(paths: list[str]) -> str:
    return "[" + ", ".join(paths) + "]"


def _arguments(phase: Phase) -> dict[str, int]:
    return {"flow_length": LENGTH} if phase.takes_flow else {}


def _fuse(folder: Path) -> Fusion:
    """Late fusion of the two streams, with equal weights."""
    names = ("appearance", "motion")
    files = {name: [folder / name / "0" / "scores_test_1x1.npz"] for name in names}
    return fuse(read_contest(files), [1.0, 1.0])


if __name__ == "__main__":
    raise SystemExit(main())
