"""Resume point of `--ckpt_path last`: the newest checkpoint of the run that can be read."""

import os
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from datamodules.errors import UserError
from lightning_modules.console import say
from lightning_modules.resume.checkpoint_io import DamagedCheckpointError, read_checkpoint
from lightning_modules.runs.folder import (
    ASIDE,
    CANDIDATES,
    KEY,
    is_put_aside,
    names_in,
    read_identity,
)


def find_resume_point(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Find the file that a run goes on from, and its content; say which one it is and why.

    A damaged file is said and put aside under another name, so that the next save does not keep it
    instead of a good one. Files that belong to another run, or to none, are said and left alone.

    Args:
        folder: The run folder.

    Returns:
        None where the run has no checkpoint yet.

    Raises:
        UserError: If it has some, put aside ones included, and none of them can be used.
        StorageError: If one cannot be read at the moment.
    """
    identity = read_identity(folder)
    there = names_in(folder / "checkpoints")
    refused = [f"{name} was put aside" for name in there if is_put_aside(name)]
    for name, why in CANDIDATES.items():
        path = folder / "checkpoints" / name
        if name not in there:
            continue
        try:
            content = read_checkpoint(path)
        except DamagedCheckpointError as error:
            refused.append(f"{name} is damaged")
            _put_aside(path, error)
            continue
        except UserError as error:
            refused.append(f"{name} is no checkpoint of a run")
            say(f"WARNING: {path} is not used: {error}")
            continue
        if identity is not None and KEY in content and content[KEY]["id"] != identity.id:
            refused.append(f"{name} belongs to another run ({content[KEY]['id']})")
            say(f"WARNING: {path} is not used: it belongs to run {content[KEY]['id']}")
            continue
        say(f"resuming from {path}: {why} ({', '.join([_position(content), *refused])})")
        return path, content
    if refused:
        raise UserError(
            f"no checkpoint in {folder / 'checkpoints'} can be used ({', '.join(refused)}); put a "
            "good copy there, or start a new run with another --run.version"
        )
    return None


@rank_zero_only
def _put_aside(path: Path, error: DamagedCheckpointError) -> None:
    aside = path.with_name(f"{path.name}{ASIDE}")
    say(f"WARNING: {error}; it is kept as {aside.name}")
    os.replace(path, aside)


def _position(content: dict[str, Any]) -> str:
    return f"step {content['global_step']}, epoch {content['epoch']}"
