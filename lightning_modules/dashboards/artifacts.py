"""Files of a run as versioned artifacts of W&B, which stay where they are until they are sent."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from lightning_modules.runs.folder import folder_of_checkpoint

__all__ = ["KEPT", "checkpoint_artifact", "checkpoint_name", "scores_artifact"]

KEPT = ("best", "last")
"""Checkpoints that are artifacts, and their aliases."""


def checkpoint_artifact(path: Path, about: Mapping[str, Any]) -> Any:
    """Describe a checkpoint: a version of the model of its run.

    Args:
        path: The file.
        about: What W&B shows beside it.
    """
    return _of_file(checkpoint_name(path), "model", path, about)


def scores_artifact(path: Path, run: str, about: Mapping[str, Any]) -> Any:
    """Describe a score file: a version of the scores of a run.

    Args:
        path: The file.
        run: Name of the run that trained.
        about: What W&B shows beside it.
    """
    return _of_file(_plain(f"{run}-scores"), "scores", path, about)


def checkpoint_name(path: Path) -> str:
    """Name the model that a checkpoint is a version of, `<run.name>-<run.version>`."""
    return _plain("-".join(folder_of_checkpoint(path).parts[-2:]))


def _of_file(name: str, kind: str, path: Path, about: Mapping[str, Any]) -> Any:
    artifact = wandb.Artifact(name, type=kind, metadata=dict(about))
    artifact.add_file(str(path), policy="immutable", skip_cache=True)  # else it is copied, twice
    return artifact


def _plain(name: str) -> str:
    """Write a name with the characters that W&B takes."""
    return re.sub(r"[^\w.-]", "_", name)
