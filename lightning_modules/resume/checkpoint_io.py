"""Atomic writing of checkpoints, and reading that tells damage from a disk that fails."""

from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins import CheckpointIO

from datamodules.atomic import writing_binary
from datamodules.errors import StorageError, UserError
from datamodules.storage.transient import is_transient, retry
from lightning_modules.console import say
from lightning_modules.old_checkpoints import up_to_date
from lightning_modules.runs.folder import GO_ON, LAST, PREVIOUS
from lightning_modules.runs.origin import WRITTEN_AS
from models.weights_file import DamagedFileError, read_weights_file

_NOT_THE_FILES = (OSError, MemoryError, RuntimeError)
"""Faults of the disk or of memory, the last one in torch's words: they prove nothing of a file."""


class DamagedCheckpointError(UserError):
    """A checkpoint that does not hold what was written to it, as the file itself proves."""


class AtomicCheckpointIO(CheckpointIO):
    """Atomic checkpoint files: written beside the target, flushed to the disk, only then renamed.

    Nothing is staged in the temporary folder, which may be on another disk. A run that is killed
    leaves at most `.<name>.tmp` behind, which the next save overwrites. The newest checkpoint of a
    run (`last.ckpt`) keeps the one before it, as `last.previous.ckpt`, for a disk that damages what
    it was given. Files are verified when they are read, and nothing in them is executed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint, which holds the name of its file, too.

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
                _write({**checkpoint, WRITTEN_AS: target.name}, file)
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
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint, as `read_content` does whatever else is asked: on the CPU."""
        content: dict[str, Any] = read_content(path)
        return content

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


def read_content(path: str | Path) -> Any:
    """Read and verify a checkpoint or a file of weights, in today's form.

    What may be good a moment later is read again, after growing waits.

    Raises:
        DamagedCheckpointError: The file is damaged.
        UserError: The path is an address, is missing, or is no such file.
        StorageError: It cannot be read at the moment, which does not mean that it is damaged.
    """
    reading = partial(read_weights_file, path)
    try:
        content = retry(reading, str(path), say, faults=_NOT_THE_FILES, may_pass=_may_pass)
    except DamagedFileError as error:
        raise DamagedCheckpointError(str(error)) from error
    except ValueError as error:
        raise UserError(str(error)) from error
    except _NOT_THE_FILES as error:
        why = _reason(error) or str(error) or type(error).__name__
        raise StorageError(
            f"{path} cannot be read at the moment ({why}), which does not mean that it is damaged: "
            "nothing was changed; start again when disk and memory are in order"
        ) from error
    return up_to_date(content)


def _may_pass(error: BaseException) -> bool:
    return is_transient(error) or not isinstance(error, OSError)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read the content of a checkpoint of this project; see `read_content`.

    Raises:
        UserError: If it is not such a checkpoint, or cannot be read for another reason.
        StorageError: If the disk fails, or memory does not suffice.
    """
    content = read_content(path)
    if not isinstance(content, dict) or "module" not in content:
        raise UserError(
            f"{path} is not a checkpoint of a fit of this project: it does not say what it was "
            "trained on; give a file from a run folder's checkpoints/"
        )
    return content
