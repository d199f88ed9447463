"""The runs of a benchmark, one after another, each in a process of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from datamodules.errors import UserError
from datamodules.jobs.progress import time_left
from lightning_modules.benchmarking.plan import Plan
from lightning_modules.resume.stop_signals import INTERRUPTED, STOPPED

__all__ = ["run_all"]


def run_all(plan: Plan, say: Callable[[str], None]) -> None:
    """Do the runs that are not done.

    Args:
        plan: The runs.
        say: Shows a line to the user.

    Raises:
        SystemExit: If a run was stopped; the same command goes on.
        UserError: If a run fails.
    """
    steps = list(plan.steps())
    todo = [step for step in steps if not step.scores.exists()]
    say(f"{len(steps)} runs, {len(steps) - len(todo)} done already, {len(todo)} to do")
    started = time.monotonic()
    for number, step in enumerate(todo):
        left = time_left(started, number, len(todo))
        say(f"run {number + 1} of {len(todo)}: {step.title}{left}")
        for words in step.commands:
            _call(words, step.title)


def _call(words: Sequence[str], title: str) -> None:
    """Run a command in a process of its own.

    Args:
        words: The command and its options.
        title: What it is for, for the message.
    """
    process = subprocess.Popen([sys.executable, "-m", "lightning_modules", *words])
    with _signals_passed_on(process):
        code = process.wait()
    if code in (STOPPED, INTERRUPTED):
        sys.stderr.write("kinetoscope: benchmark was stopped; the same command goes on\n")
        raise SystemExit(code)
    if code:
        raise UserError(f"the run {title} failed with exit code {code}; its last lines say why")


@contextmanager
def _signals_passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let a process save and end where this one is asked to; Ctrl-C reaches both by itself."""

    def pass_on(number: int, _: object) -> None:
        if number != signal.SIGINT:
            process.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
