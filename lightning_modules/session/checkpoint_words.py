"""Words of `--ckpt_path` that stand for a file: `last`, `best`, a name on the Hub."""

from jsonargparse import Namespace

from datamodules.errors import UserError
from datamodules.storage.hub import SCHEME, hub_file
from lightning_modules.console import say
from lightning_modules.runs.folder import RunSettings, checkpoint_of_run


def file_of(command: str, config: Namespace) -> str:
    """Find the file that `--ckpt_path` means, but for a fit's `last`.

    Args:
        command: `fit`, `test` or `validate`.
        config: Its config.

    Raises:
        UserError: If there is no such file, a fit could not go on from it, or a test would not know
            where its scores go.
    """
    word: str = config.ckpt_path
    if command == "fit" and word == "best":
        raise UserError(
            "a fit goes on from --ckpt_path last; to begin a new run with the best weights of "
            "another, give their file as --model.init_from"
        )
    if word in ("last", "best"):
        path = str(checkpoint_of_run(RunSettings(**config.run), word))
        say(f"checkpoint: {path}")
        return path
    if not word.startswith(SCHEME):
        return word
    if command == "fit":
        raise UserError(
            f"{word} is no run that a fit could go on with; to begin a new run with its weights "
            f"give --model.init_from {word}"
        )
    if command == "test" and config.out is None:
        raise UserError(
            f"{word} has no run folder that the scores could go to; give one with --out DIR"
        )
    return str(hub_file(word))
