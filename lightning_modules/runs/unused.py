"""UnusedFolder: what a fit made for itself goes again where it was refused before it began."""

import csv
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lightning.fabric.utilities.exceptions import MisconfigurationException

from datamodules.errors import StorageError, UserError
from lightning_modules.runs.folder import FILE_NAME as IDENTITY
from lightning_modules.runs.folder import RunSettings, names_in
from lightning_modules.runs.lock import FILE_NAME as LOCK
from lightning_modules.runs.wandb_runs import finish_wandb

_BEFORE_ANY_STEP = {IDENTITY, LOCK, "config.yaml", "wandb", "checkpoints", "metrics.csv"}
"""Names of what a fit writes before its first step; with anything else in it, a folder stays."""

REFUSALS = (UserError, StorageError, MisconfigurationException)


class UnusedFolder:
    """A context within which a fit is refused or not: a refused one leaves no folder behind."""

    def __init__(self) -> None:
        self._before: dict[Path, list[str]] = {}
        self._made: list[Path] = []

    def look(self, settings: RunSettings) -> None:
        """Note what is there before the fit makes its folder.

        Args:
            settings: Where that will be.
        """
        runs = Path(settings.folder)
        self._before = {folder: names_in(folder) for folder in (runs / settings.name, runs)}
        self._made = [folder for folder in self._before if not folder.exists()]

    def note(self, folder: Path) -> None:
        """Note the folder that the fit has got.

        Args:
            folder: The folder of one version of the run.
        """
        if folder.name not in self._before[folder.parent]:
            self._made.insert(0, folder)
        else:
            self._made.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, REFUSALS) and self._made:
            finish_wandb()  # it writes to the folder to its end
            for folder in self._unused():
                with suppress(OSError):  # a disk that fails tells it already
                    shutil.rmtree(folder)

    def _unused(self) -> Iterator[Path]:
        """List what was made and holds nothing that is worth keeping, the innermost first."""
        for folder in self._made:
            held = set(names_in(folder))
            if held <= _BEFORE_ANY_STEP and not _is_trained(folder):
                yield folder


def _is_trained(folder: Path) -> bool:
    """Return True if a run folder holds a checkpoint or a step's metrics."""
    if names_in(folder / "checkpoints"):
        return True
    metrics = folder / "metrics.csv"
    if not metrics.is_file():
        return False
    with metrics.open(newline="", encoding="utf-8") as file:
        return "train/loss" in next(csv.reader(file), [])
