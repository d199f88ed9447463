"""UnusedFolder: what a fit made for itself goes again where it was refused before it began."""

import csv
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only

from datamodules.errors import StorageError, UserError
from lightning_modules.runs.folder import FILE_NAME as IDENTITY
from lightning_modules.runs.folder import RunSettings, names_in
from lightning_modules.runs.lock import FILE_NAME as LOCK
from lightning_modules.runs.wandb_runs import finish_wandb

_BEFORE_ANY_STEP = {IDENTITY, LOCK, "config.yaml", "wandb", "checkpoints", "metrics.csv"}
"""Names of what a fit writes before its first step; with anything else in it, a folder stays."""

REFUSALS = (UserError, StorageError, MisconfigurationException)


class UnusedFolder:
    """A context within which a fit is refused or not: a refused one leaves no folder behind.

    Of several ranks the first takes it away.
    """

    def __init__(self) -> None:
        self._versions: list[str] = []
        self._folder: Path | None = None
        self._above: list[Path] = []

    def look(self, settings: RunSettings) -> None:
        """Note what is there before the fit makes its folder.

        Args:
            settings: Where that will be.
        """
        runs = Path(settings.folder)
        self._versions = names_in(runs / settings.name)
        self._above = [folder for folder in (runs / settings.name, runs) if not folder.exists()]

    def note(self, folder: Path) -> None:
        """Note the folder that the fit has got.

        Args:
            folder: The folder of one version of the run.
        """
        self._folder = None if folder.name in self._versions else folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, REFUSALS) and (self._folder or self._above):
            finish_wandb()  # it writes to the folder to its end
            self._remove()

    @rank_zero_only
    def _remove(self) -> None:
        """Remove the folder of the run, and those above it that nothing else is in."""
        with suppress(OSError):  # a disk that fails tells it already; others may use a folder
            if self._folder is not None:
                if not set(names_in(self._folder)) <= _BEFORE_ANY_STEP or _is_trained(self._folder):
                    return
                shutil.rmtree(self._folder)
            for folder in self._above:
                if folder.exists():
                    folder.rmdir()


def _is_trained(folder: Path) -> bool:
    """Return True if a run folder holds a checkpoint or a step's metrics."""
    if names_in(folder / "checkpoints"):
        return True
    metrics = folder / "metrics.csv"
    if not metrics.is_file():
        return False
    with metrics.open(newline="", encoding="utf-8") as file:
        return "train/loss" in next(csv.reader(file), [])
