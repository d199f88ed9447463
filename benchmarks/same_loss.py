"""Does a change leave training as it was? The loss of every step, here and at another commit.

Both trees train with the same seed and clips, one after the other, each with its own code and this
environment. A change that means to change nothing must give the same losses to the last digit; one
that means to change rounding alone (another kernel, another order of sums) shows here how far the
two drift apart.

    uv run python benchmarks/same_loss.py main
    uv run python benchmarks/same_loss.py HEAD~3 --steps 200 --options --model SELFYModule
        --model.network selfy_tsm_tiny

Exit code 1 if a loss differs.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Train twice and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("commit", help="the other tree: a branch, tag or commit")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--data", type=Path, default=Path("data/motion_shapes"))
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="more, of `fit`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder, "tree")
        subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", other, options.commit], check=True
        )
        try:
            before, after = (losses(tree, options, Path(folder)) for tree in (other, Path.cwd()))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", other], check=True)
    differing = [step for step in sorted({*before, *after}) if before.get(step) != after.get(step)]
    print(f"{len(before)} steps, last loss {after[max(after)]}; {len(differing)} differ")
    for step in differing[:5]:
        print(f"  step {step}: {before.get(step)} at {options.commit}, {after.get(step)} here")
    return int(bool(differing))


def losses(tree: Path, options: argparse.Namespace, folder: Path) -> dict[int, str]:
    """Train with the code of a tree.

    Args:
        tree: Root of the repository.
        options: Those of the command line.
        folder: For the run.

    Returns:
        Loss of each step, in all its digits.

    Raises:
        SystemExit: If a training fails, or logs no loss.
    """
    runs = folder / f"runs_{tree.name}"
    command = [sys.executable, "-m", "lightning_modules", "fit", "--config", "quickstart"]
    command += [f"--trainer.max_steps={options.steps}", "--trainer.log_every_n_steps=1"]
    command += ["--trainer.limit_val_batches=0", "--seed_everything=0"]
    command += [f"--data.root={options.data.resolve()}", f"--run.folder={runs}", *options.options]
    caches = dict.fromkeys(("KINETOSCOPE_CACHE", "KINETOSCOPE_NODE_CACHE"), f"{runs}_cache")
    environment = {**os.environ, **caches, "WANDB_MODE": "offline"}
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{tree}: {done.stderr}")
    (table,) = runs.glob("*/0/metrics.csv")
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    if not rows:
        raise SystemExit(f"{tree}: no loss was logged")
    return {int(row["step"]): row["train/loss"] for row in rows}


if __name__ == "__main__":
    raise SystemExit(main())
