"""Place of the files that W&B keeps until they are sent: the run folder, not the home folder."""

import os
from pathlib import Path

_VARIABLE = "WANDB_DATA_DIR"
_ours: set[str] = set()


def stage_in(folder: Path) -> None:
    """Let W&B keep what waits to be sent in a run folder, unless its variable says where.

    By default it leaves copies of all tables in the home folder, which nothing ever removes, and
    without which an offline run cannot be sent from elsewhere.

    Args:
        folder: The run folder.
    """
    if os.environ.get(_VARIABLE, "") in {"", *_ours}:
        os.environ[_VARIABLE] = str(folder.absolute() / "wandb")
        _ours.add(os.environ[_VARIABLE])
