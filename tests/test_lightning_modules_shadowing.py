"""Somebody's own package of one of our names: a sentence names the folder in the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "from lightning_modules.cli import main; main()"


@pytest.mark.parametrize(
    ("package", "path", "command"),
    [
        ("models", "models/__init__.py", ["-m", "lightning_modules"]),
        ("models", "models.py", ["-c", RUN]),
        ("datamodules", "datamodules/__init__.py", ["-c", RUN]),
    ],
)
@pytest.mark.parametrize("is_on_path", [True, False], ids=["PYTHONPATH", "same folder"])
def test_foreign_package_is_named(
    package: str, path: str, command: list[str], is_on_path: bool, tmp_path: Path
) -> None:
    foreign = tmp_path / path
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("")
    (tmp_path / "empty").mkdir()
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)} if is_on_path else None
    done = subprocess.run(
        [sys.executable, *command, "fit", "--config", "quickstart"],
        cwd=tmp_path / "empty" if is_on_path else tmp_path,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"kinetoscope: {foreign} hides this project's own package {package}; start the command in "
        f"another folder, or take {tmp_path} off PYTHONPATH\n"
    )


def test_folder_that_is_no_package_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()  # weights, say
    command = [sys.executable, "-m", "lightning_modules", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: kinetoscope")
