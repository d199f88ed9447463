"""Versions behind a result: of the libraries, and the commit of this code."""

import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("kinetoscope", "torch", "torchvision", "lightning", "torchmetrics", "av", "numpy")


def library_versions() -> dict[str, str]:
    """Get the installed version of each library that a result depends on."""
    return {name: version(name) for name in LIBRARIES}


def code_commit() -> str:
    """Get the short commit of this code, with `+` where tracked files were changed since.

    An installation without a git checkout gives its release version instead.
    """
    folder = Path(__file__).resolve().parents[2]
    try:
        # an installation may lie inside another project's checkout
        if Path(_git(folder, "rev-parse", "--show-toplevel")).resolve() == folder:
            return _git(folder, "describe", "--always", "--exclude=*", "--dirty=+")
    except (FileNotFoundError, subprocess.CalledProcessError):
        pass
    return f"release {version('kinetoscope')}"


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
