"""The command `kinetoscope`: what there is, a line each, loaded only when called.

Exit codes: 0 done, 1 crash, 2 a user's mistake (said in one sentence), 130 stopped with Ctrl-C.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import TracebackType

from lightning_modules.console import fail, nearest

COMMANDS = {
    "fit": ("lightning_modules.video_cli", "train a network and validate it as it learns"),
    "validate": ("lightning_modules.video_cli", "clip accuracy of a checkpoint on the val set"),
    "test": (
        "lightning_modules.video_cli",
        "video accuracy of a checkpoint under a stated protocol, with a score file",
    ),
    "predict": ("lightning_modules.predict", "label own videos with a checkpoint"),
}
PACKAGES = ("models", "datamodules", "lightning_modules")

OVERVIEW = """\
usage: kinetoscope COMMAND [options]

Video action recognition: train, test and use CoST networks and their baselines.

{commands}

Begin with:
  kinetoscope fit --config configs/quickstart.yaml
  kinetoscope COMMAND --help              options of a command
  kinetoscope fit --model.help CoSTModule arguments of a model (or --data.help, with a DataModule)
"""


def overview() -> str:
    """Text of `kinetoscope --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return OVERVIEW.format(commands="\n".join(lines))


def main(args: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        args: Words after `kinetoscope`; those of the command line by default.

    Raises:
        SystemExit: With code 2 on a user's mistake, 130 on Ctrl-C.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in {"-h", "--help"}:
        sys.stdout.write(overview())
        return
    command = words[0]
    if command not in COMMANDS:
        fail(
            f"there is no command {command!r}{nearest(command, COMMANDS)} "
            f"(commands: {', '.join(COMMANDS)})"
        )
    # before torch is imported: threads that spin while they wait take the cores from the loader's
    # workers (a quarter of the time of a small network's epoch on two cores)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import_module(COMMANDS[command][0]).run(words)
    except KeyboardInterrupt:
        sys.stderr.write(f"kinetoscope: {command} was stopped\n")
        raise SystemExit(130) from None
    except Exception as error:
        sentence = users_mistake(error)
        if sentence is None or "KINETOSCOPE_DEBUG" in os.environ:
            raise
        fail(sentence)


def users_mistake(error: BaseException) -> str | None:
    """What an exception tells a user to change; None if it is a defect, not a mistake.

    By this code's convention a mistake is a `ValueError` or `OSError` that our own packages raise
    (not one that they pass on), or Lightning's `MisconfigurationException`; the parser wraps those
    of a constructor in errors of its own.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    found: BaseException | None = error
    while found is not None:
        ours = isinstance(found, ValueError | OSError) and _raised_by(found) in PACKAGES
        if ours or isinstance(found, MisconfigurationException):
            return str(found)
        found = found.__cause__
    return None


def _raised_by(error: BaseException) -> str:
    """Package whose code raised an exception."""
    place: TracebackType | None = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    module: str = place.tb_frame.f_globals.get("__name__", "") if place else ""
    return module.split(".")[0]
