"""Trainings of MotionShapes on the device: the quickstart, and networks of full width."""

import time
from functools import partial
from typing import Any

import numpy as np

from gpu_pieces.commands import finish, quickstart
from gpu_pieces.setting import Cell, Setting
from lightning_modules.evaluation.stored_scores import read_scores

WIDE = {
    "cost_a_r50": ("--model.network=cost_a_r50",),
    "tsm_r18": ("--model=BaselineModule", "--model.network=tsm_r18"),
    "c2d_r18": ("--model=BaselineModule", "--model.network=c2d_r18"),
}
SEEDS = (0, 1, 2)


def cells(setting: Setting) -> list[Cell]:
    """The quickstart by seed, then each wide network by seed."""
    runs: dict[str, tuple[str, ...]] = {"quickstart": ()}
    if not setting.tiny:
        runs |= {name: (*words, "--model.optimization.lr=0.001") for name, words in WIDE.items()}
    seeds = SEEDS[:1] if setting.tiny else SEEDS
    return [
        Cell(f"{name}, seed {seed}", partial(_trained, name, words, seed, setting), 120)
        for seed in seeds
        for name, words in runs.items()
    ]


def _trained(name: str, words: tuple[str, ...], seed: int, setting: Setting) -> dict[str, Any]:
    fit = quickstart(setting, f"train_{name}", seed, *words, f"--seed_everything={seed}")
    folder = setting.out / f"train_{name}"
    begun = time.monotonic()
    finish(fit, folder / f"{seed}.log")
    took = time.monotonic() - begun
    last = folder / str(seed) / "checkpoints" / "last.ckpt"
    finish(["test", *fit[1:], f"--ckpt_path={last}"], folder / f"{seed}.log")
    found = read_scores(last.parents[1] / "scores_test_1x1.npz")
    right = 100 * float(np.mean(found.scores.argmax(axis=1) == found.labels))
    return {"fit, s": round(took), "test top-1, %": round(right, 2), "videos": len(found.labels)}
