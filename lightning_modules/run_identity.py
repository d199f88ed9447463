"""Which run a folder holds: an id made once, and how often the run was taken up again."""

import json
import os
import secrets
import string
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

FILE_NAME = "run.json"
"""Name of the file in a run folder."""

KEY = "run"
"""Key of the identity in a checkpoint."""

_LETTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class RunIdentity:
    """The same through all interruptions of a run; W&B knows the run by it.

    Attributes:
        id: Eight letters and digits.
        resume_count: How often the run was started again.
    """

    id: str
    resume_count: int = 0


def identify_run(folder: Path, checkpoint: dict[str, Any] | None) -> RunIdentity:
    """The identity of a run that starts or goes on; kept in its folder by the first rank.

    Args:
        folder: The run folder.
        checkpoint: The checkpoint that the run goes on from, if it is one of this folder; else
            None. It tells the id where the folder's own file is lost.
    """
    known = read_identity(folder)
    if known is None and checkpoint is not None and KEY in checkpoint:
        known = RunIdentity(**checkpoint[KEY])
    if known is None:
        own = RunIdentity("".join(secrets.choice(_LETTERS) for _ in range(8)))
    else:
        own = RunIdentity(known.id, known.resume_count + 1)
    _write(own, folder)
    return own


@rank_zero_only
def _write(identity: RunIdentity, folder: Path) -> None:
    part = folder / f"{FILE_NAME}.part"
    part.write_text(json.dumps(asdict(identity)) + "\n", encoding="utf-8")
    os.replace(part, folder / FILE_NAME)


def read_identity(folder: Path) -> RunIdentity | None:
    """The identity that a run folder holds; None where it has none.

    Raises:
        ValueError: If its file is damaged.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        return RunIdentity(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged, so that the run's id is unknown; delete it: the newest checkpoint "
            "holds the id, too"
        ) from error
