"""A folder in the form of a repository on the Hugging Face Hub, and its upload."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datamodules.atomic import write_atomically
from datamodules.storage.hub import SCHEME, WEIGHTS, hub_library, hub_sentence
from lightning_modules.base import VideoClassifier
from lightning_modules.exporting.description import describe
from lightning_modules.exporting.model_card import model_card
from lightning_modules.exporting.weights_file import write_safetensors


def write_hub_folder(
    module: VideoClassifier, content: Mapping[str, Any], scores: Path, folder: Path
) -> None:
    """Write weights, description and card, as a repository on the Hub holds them.

    Args:
        module: The trained module.
        content: Content of its checkpoint.
        scores: Folder of its score files.
        folder: The folder; made where it is not there.

    Raises:
        UserError: If the package safetensors is missing.
        OSError: If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(content, folder / WEIGHTS)
    write_atomically(folder / "config.json", json.dumps(describe(module), indent=1) + "\n")
    write_atomically(folder / "README.md", model_card(module, content, scores, [WEIGHTS]))


def push(folder: Path, repository: str, *, private: bool = True) -> str:
    """Upload a folder of `write_hub_folder` as one commit; with the user's own login.

    Args:
        folder: The folder.
        repository: `OWNER/NAME` on the Hub; made where it is not there.
        private: Whether a new one is private.

    Returns:
        The name that `open_checkpoint` takes.

    Raises:
        UserError: If the library is not installed, or the Hub cannot be reached or refuses.
    """
    library = hub_library()
    name = repository.removeprefix(SCHEME)
    with hub_sentence(f"{SCHEME}{name} cannot be written", f"upload {folder}, which is whole"):
        hub = library.HfApi()
        hub.create_repo(name, private=private, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message="kinetoscope export")
    return f"{SCHEME}{name}"
