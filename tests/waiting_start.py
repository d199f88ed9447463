"""The command, for tests: it waits at a place of a fit's start for a signal, once in a job.

`WAIT_AT` names the place, `WAIT_MARK` the file (and the rank) that says that it is there.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

PLACES = {
    "data": ("datamodules.datasets.motion_shapes", "MotionShapesDataModule", "setup"),
    "W&B": ("wandb", "", "init"),
    "sanity check": ("lightning_modules.resume.preemption", "Preemption", "on_sanity_check_start"),
    "first batch": ("lightning_modules.resume.preemption", "Preemption", "on_train_start"),
}
"""Module, class and function after which it waits."""


def wait() -> None:
    mark = Path(f"{os.environ['WAIT_MARK']}.{os.environ.get('SLURM_PROCID', 0)}")
    if not mark.exists():
        mark.touch()
        time.sleep(8)


def waiting_after(function: Callable[..., Any]) -> Callable[..., Any]:
    def waiting(*args: Any, **kwargs: Any) -> Any:
        made = function(*args, **kwargs)
        wait()
        return made

    return waiting


class Imports(MetaPathFinder):
    """Waits before torch is imported, or changes a place once all is."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        place = os.environ["WAIT_AT"]
        if name == "torch" and place == "imports":
            wait()
        if name == "lightning_modules.commands.fit" and place in PLACES:
            module, owner, function = PLACES[place]
            found: Any = import_module(module)
            found = getattr(found, owner) if owner else found
            setattr(found, function, waiting_after(getattr(found, function)))


if __name__ == "__main__":
    sys.meta_path.insert(0, Imports())
    import_module("lightning_modules.cli").main()
