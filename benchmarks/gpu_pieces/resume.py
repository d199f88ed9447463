"""A training with deterministic kernels, killed and gone on with, against one that was not."""

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu_pieces.commands import finish, quickstart, start
from gpu_pieces.setting import Cell, Setting

NETWORKS = {
    "cost_a_tiny": (),
    "selfy_tsm_tiny": ("--model=SELFYModule", "--model.network=selfy_tsm_tiny"),
}
STEPS, SAVED = 60, 10
PATIENCE = 240.0


def cells(setting: Setting) -> list[Cell]:
    """A killed training each, in float32 and in bfloat16."""
    return [
        Cell(f"{name}, {precision}", partial(_killed, name, precision, setting), 120)
        for name in NETWORKS
        for precision in ("32-true", "bf16-mixed")
    ]


def _killed(name: str, precision: str, setting: Setting) -> dict[str, Any]:
    folder = setting.out / f"resume_{name}_{precision}"
    shutil.rmtree(folder, ignore_errors=True)
    more = [*NETWORKS[name], f"--trainer.precision={precision}", "--trainer.deterministic=true"]
    steps = STEPS // 3 if setting.tiny else STEPS
    saved = 2 if setting.tiny else SAVED
    more += ["--trainer.max_epochs=-1", f"--trainer.max_steps={steps}"]
    more += [f"--run.save_every_steps={saved}"]
    finish(quickstart(setting, folder.name, 0, *more), folder / "whole.log")
    words = quickstart(setting, folder.name, 1, *more)
    last = folder / "1" / "checkpoints" / "last.ckpt"
    at = _kill_after_a_save(words, folder / "killed.log", last)
    finish([*words, "--ckpt_path=last"], folder / "gone_on.log")
    whole = _weights(folder / "0" / "checkpoints" / "last.ckpt")
    gone_on = _weights(last)
    same = [torch.equal(whole[key], gone_on[key]) for key in whole]
    return {"killed after step": at, "of": steps, "equal tensors": f"{sum(same)} of {len(same)}"}


def _kill_after_a_save(words: list[str], log: Path, last: Path) -> int:
    """Kill a fit (SIGKILL) soon after its first save; return the step of that.

    Raises:
        RuntimeError: If none came.
    """
    process = start(words, log)
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        if last.is_file():
            time.sleep(0.3)  # into the steps that follow
            process.kill()
            process.wait()
            return int(torch.load(last, map_location="cpu", weights_only=True)["global_step"])
        time.sleep(0.02)
    process.kill()
    raise RuntimeError(f"no checkpoint was saved before the end; see {log}")


def _weights(path: Path) -> dict[str, torch.Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    state: dict[str, torch.Tensor] = content["state_dict"]
    return state
