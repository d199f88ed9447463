"""Loggers of a fit: a CSV file always, W&B online only for a user who is logged in there."""

import csv
import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from datamodules.atomic import writing_text
from datamodules.errors import as_storage_error
from lightning_modules.runs.folder import GO_ON, RunIdentity
from lightning_modules.runs.wandb_runs import RunLogger

PROJECT = "kinetoscope"


class MetricsFile(Logger):
    """A logger that writes `metrics.csv`, one line a call, and extends that of a resumed run.

    Lightning's own CSV logger deletes the metrics of the run that it continues. A metric that
    appears later adds a column.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "metrics.csv"
        self._columns: list[str] | None = None
        self._num_lines: int | None = None

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.parent.parent.name

    @property
    def version(self) -> str:
        """Version of the run."""
        return self.path.parent.name

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `config.yaml` holds the hyper-parameters."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one line."""
        row: dict[str, Any] = {"step": step, **metrics}
        if self._columns is None:
            self._columns = self._existing_columns()
        new = [name for name in row if name not in self._columns]
        self._num_lines = self.num_lines + 1
        with as_storage_error(self.path, GO_ON):
            if new:
                self._add_columns(new)
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)

    @property
    def num_lines(self) -> int:
        """Lines that were logged, those of the run before it was resumed included."""
        if self._num_lines is None:
            self._num_lines = len(self._read_rows())
        return self._num_lines

    @rank_zero_only
    def keep_lines(self, count: int) -> None:
        """Forget all but the first lines: a resumed run logs what was lost once more."""
        if self.num_lines > count:
            self._columns, self._num_lines = self._existing_columns(), count
            with as_storage_error(self.path, GO_ON):
                self._write_rows(self._read_rows()[:count])

    def _existing_columns(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), [])

    def _add_columns(self, new: list[str]) -> None:
        """Rewrite the file with more columns; rare, as the set of metrics settles in an epoch."""
        rows = self._read_rows()
        self._columns = [*(self._columns or []), *new]
        self._write_rows(rows)

    def _read_rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write_rows(self, rows: list[dict[str, str]]) -> None:
        assert self._columns is not None
        with writing_text(self.path, lone=True, newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


def default_loggers(folder: Path, identity: RunIdentity) -> list[Logger]:
    """Make the CSV (`metrics.csv`) and W&B (`wandb/`) loggers of a run folder.

    W&B works offline unless the user is logged in or `WANDB_MODE` says otherwise; `wandb sync`
    sends an offline run later. A resumed run goes on under the id of its first start.

    Args:
        folder: The run folder.
        identity: The id, and how often the run was resumed.
    """
    offline = "WANDB_MODE" not in os.environ and not logged_in_to_wandb()
    wandb_logger = RunLogger(
        id=identity.id,
        resume="allow",
        name=f"{folder.parent.name}/{folder.name}",
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        save_dir=folder,
        offline=offline,
        settings=wandb.Settings(quiet=True),
    )
    return [MetricsFile(folder), wandb_logger]


def logged_in_to_wandb() -> bool:
    """Look for an API key of the W&B server in the environment and in `~/.netrc`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        known = netrc.netrc(os.environ.get("NETRC"))
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
    return server is not None and known.authenticators(server) is not None
