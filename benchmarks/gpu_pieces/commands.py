"""Commands of kinetoscope in a process of their own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu_pieces.setting import Setting


def quickstart(setting: Setting, name: str, version: int, *more: str) -> list[str]:
    """Words of a fit of the quickstart on the device, as small as the setting is."""
    accelerator = "gpu" if setting.is_gpu else "cpu"
    words = ["fit", "--config", "quickstart", f"--trainer.accelerator={accelerator}"]
    words += [f"--data.root={setting.out / 'motion_shapes'}", f"--run.folder={setting.out}"]
    words += [f"--run.name={name}", f"--run.version={version}"]
    if setting.tiny:
        words += ["--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]
        words += ["--trainer.max_epochs=2"]
    return [*words, *more]


def start(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command; what it prints is added to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    with log.open("a") as file:
        command = [sys.executable, "-m", "lightning_modules", *words]
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file)


def finish(words: Sequence[str], log: Path) -> None:
    """Run a command to its end.

    Raises:
        RuntimeError: If it fails.
    """
    code = start(words, log).wait()
    if code:
        raise RuntimeError(f"{' '.join(words[:3])} ended with {code}; see {log}")
