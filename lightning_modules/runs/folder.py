"""The folder of a run, `runs/<name>/<version>/`, chosen once, before the ranks start."""

import json
import os
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from datamodules.atomic import write_atomically
from datamodules.errors import StorageError, UserError
from datamodules.storage.transient import retry
from lightning_modules.console import say

VERSION_VARIABLE = "KINETOSCOPE_RUN_VERSION"
"""Environment variable from which ranks know the version that their parent chose."""

LAST = "last.ckpt"
"""Name of the newest checkpoint of a run."""

PREVIOUS = "last.previous.ckpt"
"""Name of the one before it."""

CANDIDATES = {
    LAST: "the newest checkpoint of the run",
    PREVIOUS: "the one before the newest",
    "best.ckpt": "the best checkpoint of the run, as neither of the last two is left",
}
"""Checkpoints that a run can go on from, the best choice first, and what each is."""

ASIDE = ".damaged"
"""Suffix of a damaged checkpoint that was put aside."""

GO_ON = "make room and go on with --ckpt_path last"
"""Advice where a fit cannot write; the end of a sentence."""

FILE_NAME = "run.json"
"""Name of the file in a run folder."""

KEY = "run"
"""Key of the identity in a checkpoint."""

_LETTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class RunSettings:
    """Settings of the folder of a fit's config, checkpoints, metrics and scores.

    Attributes:
        name: Name of the run, a folder below `folder`.
        version: Folder below the name; by default the next free number, in a sweep of W&B the id
            that it gives the run, under Slurm the job id (and array task), so that a requeued job
            finds its folder again.
        folder: Folder of all runs.
        keep_best: Keep the checkpoint with the best val/top1 beside the last one. Off
            where the reported set is the validation set.
        save_every_steps: Optimizer steps after which the last checkpoint is written anew, beside
            the end of each epoch; null for no such limit.
        save_every_minutes: Minutes after which it is written anew; null for no such limit.
        group: Group of the run in W&B, such as the seeds of one method; null for none.
        tags: Tags in W&B.
        notes: Notes in W&B.
        job_type: Type of the run in W&B; `fit` where null.
        artifacts: Give W&B the best and the last checkpoint when the fit has ended.
    """

    name: str = "unnamed"
    version: str | None = None
    folder: str = "runs"
    keep_best: bool = True
    save_every_steps: int | None = None
    save_every_minutes: float | None = 10.0
    group: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None
    job_type: str | None = None
    artifacts: bool = True

    def __post_init__(self) -> None:
        for key, word in (("name", self.name), ("version", self.version)):
            if word is not None and not re.fullmatch(r"[\w.+-]+", word):
                raise UserError(
                    f"run.{key}={word!r} cannot be a folder; use letters, digits and . _ + - only"
                )
        for key, least in (
            ("save_every_steps", self.save_every_steps),
            ("save_every_minutes", self.save_every_minutes),
        ):
            if least is not None and least <= 0:
                raise UserError(f"run.{key}={least} is not possible; give more than 0, or null")


def choose_run_folder(settings: RunSettings, resumes: bool) -> Path:
    """Choose a fit's folder and make it.

    The command hands the choice to the ranks that it starts, in `VERSION_VARIABLE`.

    Args:
        settings: Name and, optionally, version.
        resumes: True if the fit resumes a run; only then may the folder hold one.

    Raises:
        UserError: If a version was asked for that already holds a run, or none was given to ranks
            that a launcher started.
    """
    folder = folder_of_run(settings)
    if VERSION_VARIABLE in os.environ and folder is not None:
        return folder
    if folder is None and "RANK" in os.environ:
        raise UserError(
            "ranks that were started together (torchrun) need one name for their folder; give "
            "--run.version"
        )
    if folder is None:
        folder = _claim_next(Path(settings.folder) / settings.name)
    elif "checkpoints" in names_in(folder) and not resumes:
        raise UserError(
            f"{folder} already holds a run; continue it with --ckpt_path last, or choose another "
            "--run.version"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sweep_run() -> str | None:
    """Get the id that a sweep of W&B gives to the run of this process; None outside of a sweep."""
    if os.environ.get("WANDB_SWEEP_ID"):
        return os.environ.get("WANDB_RUN_ID") or None
    return None


def _slurm_version() -> str | None:
    """Name the job and array task under Slurm, the same before and after a requeue."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{job}_{task}" if job and task else job


def _claim_next(base: Path) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    number = max((int(p.name) for p in base.iterdir() if p.name.isdecimal()), default=-1) + 1
    while True:
        try:
            (base / str(number)).mkdir()
        except FileExistsError:
            number += 1
        else:
            return base / str(number)


def folder_of_run(settings: RunSettings) -> Path | None:
    """Find the folder that settings, a parent process, a sweep or Slurm name; None if none does."""
    named = (os.environ.get(VERSION_VARIABLE), settings.version, sweep_run(), _slurm_version())
    version = next(filter(None, named), None)
    return None if version is None else Path(settings.folder) / settings.name / version


def newest_version(settings: RunSettings) -> str | None:
    """Find a run's highest numbered version with a checkpoint, a damaged one too; None if none."""
    base = Path(settings.folder) / settings.name
    for name in sorted(filter(str.isdecimal, names_in(base)), key=int, reverse=True):
        there = names_in(base / name / "checkpoints")
        if any(file in CANDIDATES or is_put_aside(file) for file in there):
            return name
    return None


def checkpoint_of_run(settings: RunSettings, word: str) -> Path:
    """Find the checkpoint of a run that `test --ckpt_path last` or `best` means.

    Args:
        settings: Name, folder and, optionally, version of the run; by default its newest.
        word: `last` or `best`.

    Raises:
        UserError: If there is no such run, or it has no such checkpoint.
    """
    version = settings.version or newest_version(settings)
    runs = Path(settings.folder) / settings.name
    if version is None:
        raise UserError(
            f"--ckpt_path {word} is that of the run {runs}, and there is none; give the name it "
            "was trained under as --run.name, or a file"
        )
    path = runs / version / "checkpoints" / f"{word}.ckpt"
    if not path.is_file():
        there = ", ".join(names_in(path.parent)) or "none"
        raise UserError(
            f"the run {runs / version} has no checkpoint {path.name} (there are: {there}); give "
            "another run as --run.name and --run.version, or a file"
        )
    return path


def is_put_aside(name: str) -> bool:
    """Return True for the name of a damaged checkpoint that was put aside."""
    return name.removesuffix(ASIDE) in CANDIDATES and name.endswith(ASIDE)


def names_in(folder: Path) -> list[str]:
    """List what lies in a folder, in order; nothing where there is no such folder.

    Raises:
        StorageError: If the disk fails, so that nobody knows what is there.
    """
    try:
        return sorted(retry(partial(os.listdir, folder), str(folder), say))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be read at the moment ({error.strerror}), so that nobody knows what the "
        "run holds; start again when the disk is in order"
    )


def folder_of_checkpoint(path: str | Path) -> Path:
    """Find a checkpoint's run folder: above `checkpoints/`, else the file's own folder."""
    folder = Path(path).resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder


@dataclass(frozen=True)
class RunIdentity:
    """The identity of a run through all interruptions, in W&B too.

    Attributes:
        id: Eight letters and digits.
        resume_count: How often the run was started again.
    """

    id: str
    resume_count: int = 0


def identify_run(folder: Path, checkpoint: dict[str, Any] | None) -> RunIdentity:
    """Get the identity of a run that starts or resumes; the first rank keeps it in the folder.

    Args:
        folder: The run folder.
        checkpoint: The checkpoint that the run goes on from, if it is one of this folder; else
            None. It tells the id where the folder's own file is lost.

    Raises:
        UserError: If the run is another than that of the sweep that this process belongs to.
    """
    known = read_identity(folder)
    if known is None and checkpoint is not None and KEY in checkpoint:
        known = RunIdentity(**checkpoint[KEY])
    if known is not None and sweep_run() not in {None, known.id}:
        raise UserError(
            f"{folder} holds the run {known.id}, and the sweep of W&B has begun {sweep_run()}; "
            "leave --run.version out, so that each run of a sweep has a folder of its own"
        )
    if known is None:
        new = "".join(secrets.choice(_LETTERS) for _ in range(8))
        own = RunIdentity(os.environ.get("WANDB_RUN_ID") or new)
    else:
        own = RunIdentity(known.id, known.resume_count + 1)
    _write(own, folder)
    return own


def refuse_other_run(folder: Path, checkpoint: Mapping[str, Any], path: str) -> None:
    """Refuse to go on with one run in the folder of another, whose files it would overwrite.

    Args:
        folder: The run folder that was asked for.
        checkpoint: The checkpoint that the fit goes on from.
        path: Where that lies.

    Raises:
        UserError: If the folder holds checkpoints of another run.
    """
    there = read_identity(folder)
    kept = any(name in CANDIDATES for name in names_in(folder / "checkpoints"))
    if there is not None and kept and checkpoint.get(KEY, {}).get("id") != there.id:
        raise UserError(
            f"{folder} holds another run than that of {path}, and would lose its checkpoints and "
            "curves; go on in the run's own folder, or choose another --run.version"
        )


@rank_zero_only
def _write(identity: RunIdentity, folder: Path) -> None:
    write_atomically(folder / FILE_NAME, json.dumps(asdict(identity)) + "\n", lone=True)


def read_identity(folder: Path) -> RunIdentity | None:
    """Read the identity that a run folder holds; None where it has none.

    Raises:
        UserError: If its file is damaged.
        StorageError: If the disk fails.
    """
    path = folder / FILE_NAME
    try:
        text = retry(partial(path.read_text, encoding="utf-8"), str(path), say)
        return RunIdentity(**json.loads(text))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged, so that the run's id is unknown; delete it: the newest checkpoint "
            "holds the id, too"
        ) from error
