"""Packages that only some networks need, each an extra of this one by its own name."""

import importlib
from typing import Any


def optional_package(name: str, needed_by: str) -> Any:
    """Import a package that need not be installed.

    Args:
        name: Its name, which is also that of the extra.
        needed_by: What needs it, as the start of a sentence.

    Raises:
        ValueError: It cannot be imported; the sentence names the extra.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"{needed_by} needs the package {name}, which cannot be imported ({error}); run "
            f"`uv sync --extra {name}`, or `pip install 'kinetoscope[{name}]'`"
        ) from error
