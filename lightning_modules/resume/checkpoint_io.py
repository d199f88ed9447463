"""Atomic writing of checkpoints: the file before survives whatever happens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins import CheckpointIO

from datamodules.atomic import writing_binary
from datamodules.errors import StorageError, UserError, as_user_error
from lightning_modules.old_checkpoints import up_to_date
from lightning_modules.runs.folder import GO_ON, LAST, PREVIOUS
from models.weights import read_weights_file


class AtomicCheckpointIO(CheckpointIO):
    """Atomic checkpoint files: written beside the target, flushed to the disk, only then renamed.

    Nothing is staged in the temporary folder, which may be on another disk. A run that is killed
    leaves at most `.<name>.tmp` behind, which the next save overwrites. The newest checkpoint of a
    run (`last.ckpt`) keeps the one before it, as `last.previous.ckpt`, for a disk that damages what
    it was given. Files are read with `weights_only=True`: nothing in them is executed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: Content of the file.
            path: The file.
            storage_options: Not used; none may be given.

        Raises:
            StorageError: If it cannot be written; the sentence names the file and the reason.
        """
        assert storage_options is None
        target = Path(path)
        keep = target.with_name(PREVIOUS) if target.name == LAST else None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with writing_binary(target, lone=True, keep=keep, flush_folder=True) as file:
                _write(checkpoint, file)
        except (OSError, RuntimeError) as error:
            reason = _reason(error)
            if reason is None:
                raise
            raise StorageError(
                f"the checkpoint {target} cannot be written ({reason}); what was saved before is "
                f"untouched: {GO_ON}"
            ) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, loc: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint; only plain values and tensors, whatever `weights_only` says."""
        content = torch.load(path, map_location=map_location, weights_only=True)
        current: dict[str, Any] = up_to_date(content)
        return current

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint, where there is one."""
        Path(path).unlink(missing_ok=True)


def _write(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    torch.save(checkpoint, file)


def _reason(error: BaseException) -> str | None:
    """Find the disk's error message; None if the fault is not the disk's."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return found.strerror or str(found)
        found = found.__cause__ or found.__context__
    return None


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read the content of a checkpoint of this project.

    Raises:
        UserError: If the path is an address, is missing, or is not such a checkpoint.
    """
    with as_user_error():
        content = up_to_date(read_weights_file(path))
    if not isinstance(content, dict) or "module" not in content:
        raise UserError(
            f"{path} is not a checkpoint of a fit of this project: it does not say what it was "
            "trained on; give a file from a run folder's checkpoints/"
        )
    return content
