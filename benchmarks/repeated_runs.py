"""Trainings of MotionShapes repeated over seeds, kernels and disturbed starts.

One run is one draw. Another seed is another; so is another processor, whose kernels round
otherwise, and a start in which every weight was changed by about a millionth. A figure of the
documentation is a mean and a range over such runs.
"""

import argparse
import itertools
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from datamodules.motion_shapes.generation import MotionShapesSettings, generate_motion_shapes

PAIRS = (
    ("move_left", "move_right"),
    ("move_up", "move_down"),
    ("turn_clockwise", "turn_anticlockwise"),
    ("grow", "shrink"),
)
KERNELS = ("own", "other")
Done = TypeVar("Done")


@dataclass(frozen=True)
class Repeat:
    """What may not decide the result of a training.

    Attributes:
        seed: Seed of the weights and of the clips' order and frames.
        kernels: `own`, those that torch chooses for this processor, or `other`, an older set.
        disturbed: Every weight is multiplied by 1 + 1e-6 n at the start, n normal.
        threads: Threads that compute.
    """

    seed: int
    kernels: str
    disturbed: bool
    threads: int

    @property
    def name(self) -> str:
        """Folder of its runs."""
        return f"seed_{self.seed}_{self.kernels}" + ("_disturbed" if self.disturbed else "")

    def kinetoscope(self, log: Path, *words: str) -> None:
        """Run a command under these conditions; what it prints is added to a file.

        Raises:
            SystemExit: If it fails.
        """
        here = str(Path(__file__).parent / "disturbed_start.py")
        variables = {"OMP_NUM_THREADS": str(self.threads), "KINETOSCOPE_PLUGINS": here}
        if self.kernels == "other":
            variables |= older_kernels()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            command = [sys.executable, "-m", "lightning_modules", *words]
            environment = {**os.environ, **variables}
            ended = subprocess.run(command, env=environment, stdout=file, stderr=file, check=False)
        if ended.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}; see {log}")

    def fit_options(self) -> list[str]:
        """Options of `fit`."""
        options = ["--seed_everything", str(self.seed)]
        return [*options, "--trainer.callbacks=DisturbedStart"] if self.disturbed else options


def older_kernels() -> dict[str, str]:
    """Variables that make torch and oneDNN use the kernels of an older processor.

    Raises:
        SystemExit: If this processor has no older set.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        raise SystemExit(f"{platform.machine()} has one set of kernels; use --kernels own")
    if torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return {"ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2"}
    return {"ATEN_CPU_CAPABILITY": "default", "DNNL_MAX_CPU_ISA": "SSE41"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is repeated."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=list(KERNELS))
    text = "repeat each with weights disturbed by a millionth, too"
    parser.add_argument("--disturb", action="store_true", help=text)
    text = "trainings at the same time, which share the processor's cores"
    parser.add_argument("--at_once", type=int, default=1, help=text)
    parser.add_argument("--data", type=Path, default=Path("data/motion_shapes"))


def repeats(options: argparse.Namespace) -> list[Repeat]:
    """List the repeats that the options ask for, and make the clips if they are not there."""
    generate_motion_shapes(options.data, MotionShapesSettings())
    threads = max(1, len(os.sched_getaffinity(0)) // options.at_once)
    starts = (False, True) if options.disturb else (False,)
    return [
        Repeat(seed, kernels, disturbed, threads)
        for seed, disturbed, kernels in itertools.product(options.seeds, starts, options.kernels)
    ]


def run_all(jobs: Sequence[Callable[[], Done]], at_once: int) -> Iterable[Done]:
    """Do the jobs, some at once; yield each result as it comes, in the order of the jobs.

    A job that fails, or Ctrl-C, ends it after those under way.
    """
    stop = threading.Event()

    def unless_stopped(job: Callable[[], Done]) -> Done | None:
        return None if stop.is_set() else job()

    with ThreadPoolExecutor(at_once) as pool:
        try:
            for future in [pool.submit(unless_stopped, job) for job in jobs]:
                result = future.result()
                assert result is not None
                yield result
        finally:
            stop.set()


def accuracy(scores: Path) -> tuple[float, float]:
    """Share of test videos with the right class, and with a class of the right pair, in percent."""
    with np.load(scores) as stored:
        labels, names = stored["labels"], [str(name) for name in stored["class_names"]]
        best = stored["logits"].mean(axis=1).argmax(axis=1)
    pair_of = np.array([next(i for i, pair in enumerate(PAIRS) if name in pair) for name in names])
    same_pair = pair_of[best] == pair_of[labels]
    return 100 * float(np.mean(best == labels)), 100 * float(np.mean(same_pair))


def spread(values: Sequence[float]) -> str:
    """Write the mean and the range of percentages."""
    return f"{np.mean(values):.2f} ({min(values):.2f}-{max(values):.2f}) %"
