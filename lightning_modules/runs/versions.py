"""Versions behind a result: of the libraries, and the commit of this code."""

import platform
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


def versions_line() -> str:
    """Say in one line what runs here, for `kinetoscope --version` and reports of faults."""
    own, *others = (f"{name} {number}" for name, number in library_versions().items())
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return f"{own} ({code_commit()}), {', '.join(others)}, {system}"


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
