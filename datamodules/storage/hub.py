"""Names of the Hugging Face Hub, `hf://OWNER/NAME`, where a checkpoint may be named."""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datamodules.errors import UserError

SCHEME = "hf://"
WEIGHTS = "model.safetensors"
"""File of a repository on the Hub that a checkpoint is read from."""

_NAME = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def hub_library() -> Any:
    """Import the Hub's library.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(
            "the Hugging Face Hub needs the package huggingface-hub, which is not installed; run "
            "`uv sync --extra export`, or `pip install 'kinetoscope[export]'`"
        ) from error


@contextmanager
def hub_sentence(what: str, advice: str) -> Iterator[None]:
    """Turn whatever the Hub's library raises into a sentence.

    Its versions are made of different libraries for the network, each with errors of its own.

    Args:
        what: What is tried, as the start of a sentence.
        advice: What may help, as its end.
    """
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{what} ({reason}); check name and network, log in with `hf auth login`, or {advice}"
        ) from error


def local_checkpoint(path: str | Path) -> Path | str:
    """Get the local file of a checkpoint that may lie on the Hub; see `hub_file`."""
    return hub_file(str(path)) if str(path).startswith(SCHEME) else path


def hub_file(name: str) -> Path:
    """Get the weights of a repository on the Hub, downloaded or as they were once downloaded.

    Args:
        name: `hf://OWNER/NAME`, and `@REVISION` behind it for another than the newest.

    Returns:
        A local file of safetensors, in the Hub's own cache; nothing in it can be executed.

    Raises:
        UserError: If it is no such name, the library is not installed, or the file cannot be had.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise UserError(f"{name} is no name on the Hub; write hf://OWNER/NAME or ...@REVISION")
    library = hub_library()
    with hub_sentence(f"{name} cannot be had", f"give a local {WEIGHTS}"):
        return Path(library.hf_hub_download(found[1], WEIGHTS, revision=found[2]))
