"""Appearance, motion, and both: ST-ResNet's phases in small, trained on MotionShapes and tested.

The classes of MotionShapes are pairs that are each other's exact reversal, so frames taken one by
one tell the pair and not the member: the appearance stream stays near 50 %. Optical flow tells the
member. The two streams are trained alone, ST-ResNet starts from both, ST-ResNet* from it; the last
row is late fusion of the two streams' score files, as `kinetoscope compare` does it.

    uv run python benchmarks/two_streams.py  # exact flow
    uv run --extra flow python benchmarks/two_streams.py --method dis      # flow that was estimated

Finished networks are not trained again: the runs lie below --folder. The table is printed as
Markdown; exit code 1 if a network is outside its band.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from motion_shapes import accuracy

from lightning_modules.evaluation.fusion import Fusion, fuse
from lightning_modules.evaluation.score_files import read_contest
from models import count_parameters, get_model

LEARNS, CONTROL = (95.0, 100.0), (40.0, 60.0)
LENGTH = 4
"""Flow fields of a stack, L: MotionShapes has 24 in a clip."""


@dataclass(frozen=True)
class Phase:
    """A training: the network, what is special, what it starts from, where its accuracy must lie.

    `options` go beside the quickstart's settings; `starts_from` are names of phases before it.
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


def main() -> int:
    """Train, test and print."""
    options = _options()
    flow_root = _estimate(options.data, options.folder, options.method)
    rows, outside = [], []
    for phase in PHASES:
        result = _measure(phase, options.folder, options.data, flow_root)
        low, high = phase.band
        if not low <= result.top1 <= high:
            outside.append(phase.name)
        parameters = count_parameters(get_model(phase.network, 8, **_arguments(phase)))
        start = " and ".join(phase.starts_from) or "chance"
        rows.append(
            f"| {phase.name} | `{phase.network}` | {start} | {phase.epochs} | {parameters:,} | "
            f"{result.top1:.2f} % | {result.pair:.2f} % | {low:.0f}-{high:.0f} % | "
            f"{result.minutes:.1f} |"
        )
        print("\n".join(("", *_HEADER, *rows)), flush=True)
    fusion = _fuse(options.folder)
    print(
        f"\nlate fusion of appearance and motion: {100 * fusion.top1:.2f} %, the better of them "
        f"alone {100 * fusion.best_single:.2f} % ({fusion.videos} videos)"
    )
    if fusion.top1 < fusion.best_single:
        outside.append("late fusion")
    if outside:
        print(f"outside their band: {', '.join(outside)}", file=sys.stderr)
    return 1 if outside else 0


_HEADER = (
    "| phase | network | starts from | epochs | parameters | test top-1 | right pair | expected | "
    "minutes |",
    "|---|---|---|---|---|---|---|---|---|",
)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/two_streams"))
    parser.add_argument("--data", type=Path, default=Path("data/motion_shapes"))
    text = "exact flow, or flow that is first computed from the videos by this method"
    parser.add_argument(
        "--method", choices=("rendered", "dis", "tvl1"), default="rendered", help=text
    )
    options = parser.parse_args()
    options.folder = options.folder / options.method
    return options


def _estimate(data: Path, folder: Path, method: str) -> Path | None:
    """Compute flow, where it is not to be the exact one, and say where it lies."""
    if method == "rendered":
        return None
    if not (data / "manifest.json").is_file():
        raise SystemExit(f"there is no {data} yet; `kinetoscope fit` on MotionShapes makes it")
    target = folder / "flow"
    _kinetoscope("flow", str(data), str(target), "--method", method, "--short_side", "64")
    return target


def _measure(phase: Phase, folder: Path, data: Path, flow_root: Path | None) -> Result:
    """Train and test a phase by the command line, once."""
    run = folder / phase.name / "0"
    scores = run / "scores_test_1x1.npz"
    taken = run / "minutes.txt"
    if not scores.is_file():
        common = ["--config", "configs/quickstart.yaml", "--model", "STResNetModule"]
        common += ["--model.network", phase.network, "--trainer.max_epochs", str(phase.epochs)]
        common += ["--data.root", str(data), *phase.options]
        common += _flow_options(phase, flow_root)
        sources = [str(folder / name / "0" / "checkpoints/last.ckpt") for name in phase.starts_from]
        start = [f"--model.init_from={_as_list(sources)}"] if sources else []
        place = ["--run.folder", str(folder), "--run.name", phase.name, "--run.version", "0"]
        started = time.perf_counter()
        _kinetoscope("fit", *common, *start, *place)
        taken.write_text(f"{(time.perf_counter() - started) / 60:.2f}")
        _kinetoscope("test", *common, "--ckpt_path", str(run / "checkpoints" / "last.ckpt"))
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


def _kinetoscope(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "lightning_modules", *words], check=True)


def _fuse(folder: Path) -> Fusion:
    """Late fusion of the two streams, with equal weights."""
    names = ("appearance", "motion")
    files = {name: [folder / name / "0" / "scores_test_1x1.npz"] for name in names}
    return fuse(read_contest(files), [1.0, 1.0])


if __name__ == "__main__":
    raise SystemExit(main())
