"""Seconds from a command to its first training step, and what is imported in that time.

A quickstart whose clips are there already is started several times; the clock runs from the start
of the process to the end of the first batch. Then one start more lists what Python's `-X
importtime` says of the libraries (imports take a little longer under it).

    uv run python benchmarks/first_step.py

Exit code 1 if the median is above `--limit`.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import first_step_clock

CONFIG = ("--config", "configs/quickstart.yaml", "--trainer.max_steps=1")
ROW = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\w+)")


def main() -> int:
    """Start and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=7.0, help="seconds")
    parser.add_argument("--data", type=Path, default=Path("data/motion_shapes"))
    options = parser.parse_args()
    starts = [start(options.data)[0] for _ in range(1 + options.rounds)][1:]  # one warms the disk
    median = statistics.median(starts)
    print(f"first step after {median:.1f} s ({min(starts):.1f}-{max(starts):.1f}) of {len(starts)}")
    owns = own_seconds(start(options.data, "-X", "importtime")[1])
    print(f"imports, {sum(owns.values()):.1f} s of it:")
    for name, seconds in sorted(owns.items(), key=lambda item: -item[1])[:12]:
        print(f"  {name:<24} {seconds:.2f} s")
    return int(median > options.limit)


def start(data: Path, *flags: str) -> tuple[float, str]:
    """Start a fit of one step.

    Args:
        data: Clips of MotionShapes.
        flags: Options of Python.

    Returns:
        Seconds to the end of its first step, and its standard error.

    Raises:
        SystemExit: If the fit fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        clock = Path(folder) / "clock"
        command = [sys.executable, *flags, "-m", "lightning_modules", "fit", *CONFIG]
        command += [f"--data.root={data}", f"--run.folder={folder}/runs"]
        command += ["--trainer.callbacks=FirstStep", f"--trainer.callbacks.file={clock}"]
        variables = {"KINETOSCOPE_PLUGINS": first_step_clock.__file__, "WANDB_MODE": "offline"}
        begun = time.time()
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return float(clock.read_text()) - begun, done.stderr


def own_seconds(lines: str) -> dict[str, float]:
    """Add up the time that the modules of each package take, without what they import."""
    owns: defaultdict[str, float] = defaultdict(float)
    for microseconds, package in ROW.findall(lines):
        owns[package] += int(microseconds) / 1e6
    return dict(owns)


if __name__ == "__main__":
    raise SystemExit(main())
