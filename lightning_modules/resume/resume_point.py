"""Resume point of `--ckpt_path last`: the newest checkpoint of the run that can be read."""

import os
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from datamodules.errors import UserError
from lightning_modules.console import say
from lightning_modules.resume.checkpoint_io import read_checkpoint
from lightning_modules.runs.folder import KEY, LAST, PREVIOUS, read_identity

_CANDIDATES = {
    LAST: "the newest checkpoint of the run",
    PREVIOUS: "the one before the newest",
    "best.ckpt": "the best checkpoint of the run, as neither of the last two is left",
}


def find_resume_point(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Find the file that a run goes on from, and its content; say which one it is and why.

    A damaged file is said and put aside under another name, so that the next save does not keep it
    instead of a good one. Files that belong to another run are said and left alone.

    Args:
        folder: The run folder.

    Returns:
        None where the run has no checkpoint yet.

    Raises:
        UserError: If it has some, and none of them can be used.
    """
    identity = read_identity(folder)
    refused = []
    for name, why in _CANDIDATES.items():
        path = folder / "checkpoints" / name
        if not path.exists():
            continue
        try:
            content = read_checkpoint(path)
        except ValueError:
            refused.append(f"{name} is damaged")
            _put_aside(path)
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
def _put_aside(path: Path) -> None:
    aside = path.with_name(f"{path.name}.damaged")
    say(f"WARNING: {path} is damaged and cannot be read; it is kept as {aside.name}")
    os.replace(path, aside)


def _position(content: dict[str, Any]) -> str:
    return f"step {content['global_step']}, epoch {content['epoch']}"
