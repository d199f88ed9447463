"""Runs in W&B: one row a step, no secret of the command line, no fit that ends with them."""

import json
import netrc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from datamodules.atomic import write_atomically
from datamodules.errors import as_storage_error
from datamodules.redaction import shown_words
from lightning_modules.console import say
from lightning_modules.runs.folder import GO_ON, RunIdentity, RunSettings, sweep_run

PROJECT = "kinetoscope"
"""Project of a run that names none."""

FILE_NAME = "wandb.json"
"""Name of the file in a run folder that tells where the run is in W&B."""

_lost_runs: set[str] = set()


@dataclass(frozen=True)
class WandbAddress:
    """The place of a run in W&B.

    Attributes:
        id: Id of the run.
        project: Its project.
        entity: The user or team that it belongs to; empty where W&B has not said, as offline.
        group: Its group; empty without one.
        name: Its name.
    """

    id: str
    project: str
    entity: str = ""
    group: str = ""
    name: str = ""

    @classmethod
    def of(cls, run: Any) -> "WandbAddress":
        """Get the place of a run that was begun."""
        return cls(run.id, run.project, run.entity or "", run.group or "", run.name or "")

    @classmethod
    def read(cls, folder: Path) -> "WandbAddress | None":
        """Read where the run of a folder is; None where it is not in W&B."""
        try:
            return cls(**json.loads((folder / FILE_NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write it down in the run folder."""
        path = folder / FILE_NAME
        with as_storage_error(path, GO_ON):
            write_atomically(path, json.dumps(asdict(self)) + "\n", lone=True)


class RunLogger(WandbLogger):
    """W&B with the trainer's step as its own: a step that is logged again is not a new one.

    A resumed run logs the steps after its checkpoint once more, with the same values. W&B takes
    each for a row that it has already, so that its curves neither repeat nor turn back. `resumes`
    counts along the steps, and tells where the run was resumed.
    """

    resume_count = 0
    _step = 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log one row, or add to that of the same step."""
        self._step = max(self._step, step or 0)
        own = {"trainer/global_step": self._step, "resumes": self.resume_count}
        row = {**metrics, **own}
        self.experiment.log(row, step=self._step)


class LosableLogger(WandbLogger):
    """A W&B logger whose process may end, and whose disk may be full, while the fit goes on."""

    stopping: Callable[[], bool]
    _is_lost = False

    @property
    def experiment(self) -> Any:
        """The run in W&B; after a loss something that takes every call and does nothing."""
        if not self._is_lost:
            with self._losing(), shown_command_line():
                return super().experiment
        return _Nothing()

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log one row; images and tables go through here, too."""
        with self._losing():
            super().log_metrics(metrics, step)

    def log_hyperparams(self, params: Any) -> None:
        """Log a config."""
        with self._losing():
            super().log_hyperparams(params)

    @rank_zero_only
    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Set values that stand for the whole run."""
        with self._losing():
            self.experiment.summary.update(dict(values))

    @rank_zero_only
    def log_artifact(self, artifact: Any, aliases: Sequence[str]) -> None:
        """Log an artifact, a version of what its name says."""
        with self._losing():
            self.experiment.log_artifact(artifact, aliases=list(aliases))

    @rank_zero_only
    def note_address(self, folder: Path) -> None:
        """Write down in the run folder where the run is in W&B."""
        if not self._is_lost:
            run = self.experiment
            if not isinstance(run, _Nothing):
                WandbAddress.of(run).write(folder)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Send a checkpoint, where that is wanted."""
        with self._losing():
            super().after_save_checkpoint(checkpoint_callback)

    def finalize(self, status: str) -> None:
        """Send what waits for the end."""
        with self._losing():
            super().finalize(status)

    @contextmanager
    def _losing(self) -> Iterator[None]:
        """Take an error of W&B's process, connection or disk for a loss, and say so once.

        What a user can cause (a wrong key, a server that is out of reach from the start) is one
        only where a signal is ending W&B's process as well as the fit.
        """
        try:
            yield
        except Exception as error:
            is_ours = isinstance(error, wandb.Error) and not self.stopping()
            if is_ours or not is_of_wandb(error):
                raise
            if not self._is_lost:
                say(f"W&B has ended ({_reason(error)}); the run goes on without it")
            self._is_lost = True


class _Nothing:
    """Stand-in for a run that is lost: each attribute and call gives itself."""

    def __getattr__(self, name: str) -> "_Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "_Nothing":
        return self


def logger_of_run(
    given: WandbLogger | None, folder: Path, identity: RunIdentity, settings: RunSettings
) -> WandbLogger:
    """Make the W&B logger of a run, or let one that a config names be it.

    Either way the run has the id of its folder, and goes on under it when it is resumed. It works
    offline unless the user is logged in or `WANDB_MODE` says otherwise. W&B reads project, group,
    tags and notes from its own variables where neither the logger nor `run` gives them.

    Args:
        given: The logger of a config.
        folder: The run folder.
        identity: Id of the run.
        settings: Its group, tags, notes and type.
    """
    logger = given or RunLogger(
        project=os.environ.get("WANDB_PROJECT", PROJECT), settings=wandb.Settings(quiet=True)
    )
    first = logger._wandb_init
    name = first.get("name") or os.environ.get("WANDB_NAME")
    first["name"] = name or f"{folder.parent.name}/{folder.name}"
    first["id"] = logger._id = identity.id
    first["dir"] = logger._save_dir = str(folder)
    first["resume"] = "allow"
    own = {"group": settings.group, "tags": list(settings.tags) or None, "notes": settings.notes}
    own["job_type"] = settings.job_type or os.environ.get("WANDB_JOB_TYPE") or "fit"
    for key, value in own.items():
        if first.get(key) is None and value is not None:
            first[key] = value
    first.pop("anonymous")  # W&B warns of it, whatever its value
    if sweep_run() is not None:  # the sweep says what they are, and W&B warns of any that are given
        for name in ("id", "project", "entity"):
            first.pop(name, None)
    logger._offline = logger._offline or works_offline()
    if type(logger) is WandbLogger:
        logger.__class__ = RunLogger
    if isinstance(logger, RunLogger):
        logger.resume_count = identity.resume_count
    return logger


def works_offline() -> bool:
    """Return True if W&B is to write to this disk only: `WANDB_MODE`, else whether it has a key."""
    return "WANDB_MODE" not in os.environ and not logged_in_to_wandb()


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


def outlive_service(logger: WandbLogger, stopping: Callable[[], bool]) -> None:
    """Let a fit go on where W&B can no longer be reached or written.

    Args:
        logger: The logger, of whatever class; it becomes one of a class that outlives W&B.
        stopping: Tells whether a signal has asked the fit to stop.
    """
    cls = type(logger)
    logger.__class__ = type(
        cls.__name__, (LosableLogger, cls), {"stopping": staticmethod(stopping)}
    )


def finish_wandb(exit_code: int = 0) -> None:
    """Close the W&B run, if there is one; it may be unfinished, but never ends the process.

    Args:
        exit_code: Of this process, which ends now; 0 where it goes on.
    """
    if wandb.run is None or wandb.run.id in _lost_runs:
        return
    try:
        if exit_code:
            wandb.run.mark_preempting()
        wandb.finish(exit_code=exit_code)
        if exit_code:  # W&B's process may be killed with the job before this one ends
            _forget_service()
    except Exception as error:
        if not is_of_wandb(error):
            raise
        say(f"W&B has ended ({_reason(error)}); `wandb sync` sends what it had written")
        _lost_runs.add(wandb.run.id)
        _forget_service()


def _forget_service() -> None:
    """End W&B's process, and take back what W&B would do at the end of this one, and fail at."""
    try:
        wandb.teardown()
    except Exception as error:
        if not is_of_wandb(error):
            raise


def is_of_wandb(error: Exception) -> bool:
    """Tell the errors of W&B's process, connection and files from a mistake in a call."""
    return isinstance(error, OSError) or type(error).__module__.startswith("wandb.")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


@contextmanager
def shown_command_line() -> Iterator[None]:
    """Let W&B, which stores the command line at its start, see it without its secrets."""
    words = sys.argv
    sys.argv = [words[0], *shown_words(words[1:])]
    try:
        yield
    finally:
        sys.argv = words
