"""`python -c` in a process of the fork server: the libraries, which take seconds, are imported."""

import atexit
import multiprocessing
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

PATIENCE = 200
"""Seconds that a script may take."""


def run_script(
    script: str, *words: str, folder: Path, environment: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """Run a script as `python -c` does; the test needs the fixture `fork_server`.

    Args:
        script: The script.
        words: Its arguments.
        folder: Where what it writes is kept.
        environment: Environment variables.
    """
    streams = folder / "stdout.txt", folder / "stderr.txt"
    arguments = (script, words, streams, dict(environment))
    process = multiprocessing.get_context("forkserver").Process(target=_run, args=arguments)
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise subprocess.TimeoutExpired(script, PATIENCE)
    said = (stream.read_text() for stream in streams)
    return subprocess.CompletedProcess(script, process.exitcode, *said)


def _run(
    script: str, words: tuple[str, ...], streams: tuple[Path, Path], environment: dict[str, str]
) -> None:
    """Be the process of a script, up to what runs when it ends."""
    for number, stream in enumerate(streams, 1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *words]
    try:
        exec(script, vars(sys.modules["__main__"]))
    except Exception:  # noqa: BLE001  (as an interpreter does)
        traceback.print_exc()
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()
