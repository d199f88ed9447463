"""Loggers of a fit: a CSV file always, W&B, and those of the config beside them."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, WandbLogger

from datamodules.atomic import writing_text
from datamodules.errors import UserError, as_storage_error
from lightning_modules.runs.folder import GO_ON, RunIdentity, RunSettings
from lightning_modules.runs.tensorboard import TensorBoard
from lightning_modules.runs.wandb_runs import logger_of_run


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


def loggers_of_run(
    folder: Path,
    identity: RunIdentity,
    settings: RunSettings,
    given: Logger | Sequence[Logger] | bool | None,
) -> list[Logger]:
    """Make the loggers of a run: `metrics.csv` always, W&B (`wandb/`), and those of the config.

    Args:
        folder: The run folder.
        identity: The id, and how often the run was resumed.
        settings: Group, tags, notes and type of the run in W&B.
        given: `trainer.logger`: loggers beside these, of which a W&B logger takes the place of
            ours; False for `metrics.csv` alone.
    """
    metrics = MetricsFile(folder)
    if given is False:
        return [metrics]
    own = [given] if isinstance(given, Logger) else [] if isinstance(given, bool) else given or []
    dashboards = [logger for logger in own if isinstance(logger, WandbLogger)]
    if len(dashboards) > 1:
        raise UserError("trainer.logger names W&B twice; a run has one place there")
    for logger in own:
        if isinstance(logger, TensorBoard):
            logger.place(folder, identity.resume_count)
    others = [logger for logger in own if not isinstance(logger, WandbLogger)]
    wandb_logger = logger_of_run(next(iter(dashboards), None), folder, identity, settings)
    return [metrics, wandb_logger, *others]
