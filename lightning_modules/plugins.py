"""Classes that a config or a checkpoint may name."""

import os
from importlib import import_module
from importlib.util import find_spec

import jsonargparse

import datamodules
import lightning_modules
from datamodules.errors import UserError

OUR_PACKAGES = ("models", "datamodules", "lightning_modules")
PLUGINS_VARIABLE = "KINETOSCOPE_PLUGINS"


def plugins() -> list[str]:
    """Packages of the user's own that `KINETOSCOPE_PLUGINS` names, separated by commas."""
    return [name for name in os.environ.get(PLUGINS_VARIABLE, "").split(",") if name]


def allow_known_classes() -> None:
    """Let configs name the classes of our packages, Lightning, torch and the plugins, and no other.

    Every public class of ours and every plugin is imported, so that a bare class name is known.

    Raises:
        UserError: If a plugin cannot be found.
    """
    jsonargparse.set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=["torch", "lightning", *OUR_PACKAGES, *plugins()],
    )
    for package in (datamodules, lightning_modules):
        for name in package.__all__:
            getattr(package, name)
    for name in plugins():
        if find_spec(name) is None:
            raise UserError(f"{PLUGINS_VARIABLE} names {name}, which cannot be imported from here")
        import_module(name)
