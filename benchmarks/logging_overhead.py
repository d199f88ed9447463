"""Processor time of all that a fit logs, W&B offline among it, against `metrics.csv` alone.

The quickstart's training in pairs, one with everything at its default, one with `metrics.csv` and
no norms (`--trainer.logger=false --trainer.log_every_n_steps=1000000`). Counted is the processor
time of the fit and of every process that it starts, W&B's among them.

    uv run python benchmarks/logging_overhead.py --pairs 5 --epochs 3

Shorter trainings show more of it, as starting W&B costs the same. Exit code 1 if the median of the
pairs is above 5 %.
"""

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 1.05
PR_SET_CHILD_SUBREAPER = 36
OFF = ("--trainer.logger=false", "--trainer.log_every_n_steps=1000000")


def main() -> int:
    """Run the pairs and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("data/motion_shapes"))
    options = parser.parse_args()
    # processes that outlive their parent become ours, and are counted when they end
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise SystemExit("this system cannot count the processes that a fit leaves behind")
    ratios = []
    for number in range(options.pairs):
        order = [(), OFF] if number % 2 else [OFF, ()]
        seconds = {words: seconds_of(words, options) for words in order}
        ratios.append(seconds[()] / seconds[OFF])
        print(
            f"pair {number + 1}: {seconds[()]:.1f} s with all, {seconds[OFF]:.1f} s without, "
            f"{ratios[-1]:.3f}",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})")
    return int(statistics.median(ratios) > LIMIT)


def seconds_of(words: tuple[str, ...], options: argparse.Namespace) -> float:
    """Measure the processor time of a fit with all that it starts, in seconds."""
    before = _seconds()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lightning_modules", "fit"]
        command += ["--config", "configs/quickstart.yaml", f"--run.folder={folder}"]
        command += [f"--data.root={options.data}", f"--trainer.max_epochs={options.epochs}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        _wait_for_the_rest()
    return _seconds() - before


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wait_for_the_rest() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    raise SystemExit(main())
