"""Classes that a config or a checkpoint may name: ours, and those of a user's own plugins.

A plugin is a Python file or an importable module, named by the environment variable
`KINETOSCOPE_PLUGINS` or by `--plugins` on the command line, never by a YAML file or a checkpoint:
what somebody else wrote must not choose which code runs.
"""

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from datamodules.errors import UserError

__all__ = ["OUR_PACKAGES", "PLUGINS_VARIABLE", "TRUSTED", "load_plugins", "plugin_names", "resolve"]

OUR_PACKAGES = ("models", "datamodules", "lightning_modules")
TRUSTED = (*OUR_PACKAGES, "torch", "lightning", "torchmetrics")
"""Packages of which any class may be named."""
PLUGINS_VARIABLE = "KINETOSCOPE_PLUGINS"
"""Environment variable with the plugins, commas between them."""

Base = TypeVar("Base")


def plugin_names() -> list[str]:
    """List the plugins' import names; those of files are the files' own names."""
    return [_import_name(word) for word in _words()]


def load_plugins() -> None:
    """Import the plugins, each once.

    The folder of a plugin that is a file joins the search path, so that loader workers and other
    ranks find it too.

    Raises:
        UserError: If one cannot be found, or has the name of another module.
    """
    for word in _words():
        name = _import_name(word)
        if word.endswith(".py"):
            _find_file(Path(word), name)
        elif find_spec(name.split(".")[0]) is None:
            raise UserError(
                f"the plugin {name} cannot be imported from here; name an installed module, or the "
                f"path of a Python file, with --plugins or {PLUGINS_VARIABLE}"
            )
        import_module(name)


def _words() -> list[str]:
    return [
        word.strip() for word in os.environ.get(PLUGINS_VARIABLE, "").split(",") if word.strip()
    ]


def _import_name(word: str) -> str:
    return Path(word).stem if word.endswith(".py") else word


def _find_file(path: Path, name: str) -> None:
    if not path.is_file():
        raise UserError(
            f"there is no plugin file {path}; correct --plugins, or the variable {PLUGINS_VARIABLE}"
        )
    known = sys.modules.get(name)
    origin = getattr(known, "__file__", None)
    if origin is None and known is None and (spec := find_spec(name)) is not None:
        origin = spec.origin
    if not name.isidentifier() or (origin and Path(origin).resolve() != path.resolve()):
        raise UserError(
            f"the plugin file {path} cannot be imported as {name!r}, "
            + (f"the name of {origin}" if origin else "which is no Python name")
            + "; rename it"
        )
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)


def resolve(path: str, base: type[Base]) -> type[Base]:
    """Import the class at a path.

    Args:
        path: Such as `datamodules.FrameSampler`, or `my_lab.FixedRate` of a plugin.
        base: Base that it must derive from.

    Raises:
        UserError: If it is not ours, not PyTorch's or Lightning's and not a plugin's, is not there,
            or is something else.
    """
    found = attribute(path)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"{path} is not a {base.__name__}; name a class that derives from it")
    return found


def attribute(path: str) -> Any:
    """Import a trusted module, and get one of its attributes.

    Raises:
        UserError: If the module is not trusted, or has no such name.
    """
    module_name, _, name = path.rpartition(".")
    trusted = {*TRUSTED, *plugin_names()}
    if not any(module_name == known or module_name.startswith(f"{known}.") for known in trusted):
        raise UserError(
            f"{path} is part of a plugin that was not named; name its module or file "
            f"({module_name.split('.')[0]}) with --plugins, or with the variable {PLUGINS_VARIABLE}"
        )
    load_plugins()
    try:
        return getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"there is no {path} ({error}); give the version of {module_name.split('.')[0]} that "
            "has it, or correct the name"
        ) from error
