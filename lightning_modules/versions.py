"""What a result was made with: library versions and the commit of this code."""

import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("kinetoscope", "torch", "torchvision", "lightning", "torchmetrics", "av", "numpy")


def library_versions() -> dict[str, str]:
    """Installed version of each library that a result depends on."""
    return {name: version(name) for name in LIBRARIES}


def code_commit() -> str:
    """Short commit of this code, with `+` where tracked files were changed since.

    An installation without a git checkout gives its release version instead.
    """
    folder = Path(__file__).resolve().parents[1]
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--exclude=*", "--dirty=+"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return f"release {version('kinetoscope')}"
    return described.stdout.strip()
