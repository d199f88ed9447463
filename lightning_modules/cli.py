"""The command `kinetoscope`: its subcommands, a line each, loaded only when called.

Exit codes: 0 done, 1 crash or found wanting (`predict`: some videos have no label, `flow`: some
have no flow, `doctor`: a fatal finding), 2 a user's mistake (said in one sentence), 74 a file that
cannot be written (a full or read-only disk, said in one sentence), 75 stopped by a signal and saved
(start it again to go on), 130 stopped with Ctrl-C.
"""

import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

from lightning_modules.console import STORAGE_ERROR, USER_ERROR, fail, nearest
from lightning_modules.guidance.first_screen import ALL, SCREENS, asked_topic, first_screen
from lightning_modules.shadowing import refuse_foreign_packages

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of full and read-only disks, which are no defect of the code, wherever they come from."""

COMMANDS = {
    "fit": ("lightning_modules.commands.fit", "train a network and validate it as it learns"),
    "validate": ("lightning_modules.commands.fit", "clip accuracy of a checkpoint on the val set"),
    "test": (
        "lightning_modules.commands.fit",
        "video accuracy of a checkpoint under a stated protocol, with a score file",
    ),
    "predict": (
        "lightning_modules.commands.predict",
        "label own videos, or what a camera shows, with a checkpoint",
    ),
    "explain": (
        "lightning_modules.commands.explain",
        "what a network looks at: a page of maps, clips and statistics",
    ),
    "export": (
        "lightning_modules.commands.export",
        "a checkpoint as ONNX, torch.export, safetensors, a model card, or on the Hub",
    ),
    "features": ("lightning_modules.commands.features", "features of videos from a checkpoint"),
    "prepare": (
        "lightning_modules.commands.datasets.prepare",
        "fetch and make what a fit needs, on a machine with internet",
    ),
    "flow": ("lightning_modules.commands.datasets.flow", "optical flow of a folder of videos"),
    "transcode": ("lightning_modules.commands.datasets.transcode", "videos that decode faster"),
    "pack": ("lightning_modules.commands.datasets.pack", "many files in a few tar shards"),
    "doctor": (
        "lightning_modules.commands.datasets.doctor",
        "examine a dataset before training on it",
    ),
    "compare": (
        "lightning_modules.commands.compare",
        "score files of several models: intervals, paired tests, fusion",
    ),
    "benchmark": (
        "lightning_modules.commands.benchmark",
        "does a network use the order of frames? its answer on generated clips",
    ),
    "configs": (
        "lightning_modules.commands.about.configs",
        "layers and recipes, with their targets",
    ),
    "import": (
        "lightning_modules.commands.import_weights",
        "other people's weights as a checkpoint that test and predict take",
    ),
    "models": (
        "lightning_modules.commands.about.models",
        "parameters and GMACs, against the papers'",
    ),
    "completion": ("lightning_modules.commands.about.completion", "completion for bash and zsh"),
}

OVERVIEW = """\
usage: kinetoscope COMMAND [options]

Video action recognition: train, test and use CoST, SELFY, StNet, ST-ResNet and their baselines.

{commands}

Begin with:
  kinetoscope fit --config quickstart
  kinetoscope fit --config small_videos --data.root MY_VIDEOS    own clips, in a folder per class
  kinetoscope COMMAND --help              options of a command
  kinetoscope fit --help=data             keys of a topic, with meaning and default
  kinetoscope configs                     layers and recipes to give as --config
  kinetoscope --version                   what is installed, for a report

Every command takes --plugins FILE.py: networks, datasets, samplers, losses of your own, which a
config may then name (docs/extending.md).
"""


def overview() -> str:
    """Return the text of `kinetoscope --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return OVERVIEW.format(commands="\n".join(lines))


def main(args: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        args: Words after `kinetoscope`; those of the command line by default.

    Raises:
        SystemExit: With code 2 on a user's mistake, 74 where a disk fails, 130 on Ctrl-C.
    """
    refuse_foreign_packages()
    words, plugins = _without_plugins(list(sys.argv[1:] if args is None else args))
    if not words or words[0] in {"-h", "--help"}:
        sys.stdout.write(overview())
        return
    if words[0] == "--version":
        from lightning_modules.runs.versions import versions_line

        sys.stdout.write(f"{versions_line()}\n")
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
    from datamodules.plugins.trusted import PLUGINS_VARIABLE  # only now known to be ours

    before = os.environ.get(PLUGINS_VARIABLE)
    if plugins is not None:
        os.environ[PLUGINS_VARIABLE] = plugins  # where ranks and loader workers find it too
    try:
        _run(command, words)
    except KeyboardInterrupt:
        sys.stderr.write(f"kinetoscope: {command} was stopped\n")
        raise SystemExit(130) from None
    except Exception as error:
        sentence = told_in_a_sentence(error)
        if sentence is None or "KINETOSCOPE_DEBUG" in os.environ:
            raise
        from datamodules.redaction import without_pairs

        fail(without_pairs(sentence), STORAGE_ERROR if _is_of_a_disk(error) else USER_ERROR)
    finally:
        if plugins is not None:
            os.environ.pop(PLUGINS_VARIABLE)
            if before is not None:
                os.environ[PLUGINS_VARIABLE] = before


def _run(command: str, words: list[str]) -> None:
    """Import a command and run it; signals reach a fit from before its long imports.

    The help of Lightning's commands is another than Lightning's, which takes long and tells all.
    """
    topic = asked_topic(words[1:]) if command in SCREENS else None
    if topic == ALL:
        words = [command, "--help"]
    elif topic is not None:
        sys.stdout.write(_help_on(topic) if topic else first_screen(command))
        return
    from lightning_modules.parsing.config_names import refuse_wrong_configs

    refuse_wrong_configs(words)
    if command != "fit":
        import_module(COMMANDS[command][0]).run(words)
        return
    from lightning_modules.resume.stop_signals import StopSignals

    with StopSignals(starting=True) as signals:
        import_module(COMMANDS[command][0]).run(words, signals)


def _help_on(topic: str) -> str:
    from lightning_modules.guidance.keys import show_keys

    return show_keys(topic)


def _without_plugins(words: list[str]) -> tuple[list[str], str | None]:
    """Split `--plugins` off: the other words, and its value; None if it is not given."""
    kept, plugins = [], None
    while words:
        word = words.pop(0)
        if word == "--plugins" and words:
            plugins = words.pop(0)
        elif word.startswith("--plugins="):
            plugins = word.partition("=")[2]
        elif word == "--plugins":
            fail("--plugins needs a Python file or module, or several with commas between them")
        else:
            kept.append(word)
    return kept, plugins


def told_in_a_sentence(error: BaseException) -> str | None:
    """Return the sentence that tells a user what to change; None for a defect of the code.

    The parser wraps the errors of a constructor in errors of its own.
    """
    from datamodules.errors import ShardError, StorageError, UserError

    kinds: tuple[type[BaseException], ...] = (UserError, StorageError, ShardError)
    if "lightning.fabric.utilities.exceptions" in sys.modules:  # else nothing has raised its errors
        from lightning.fabric.utilities.exceptions import MisconfigurationException

        kinds += (MisconfigurationException,)
    for found in _causes(error):
        if isinstance(found, kinds):
            from_worker = re.search(r"in DataLoader worker.*\n[\w.]*Error: (.*)", str(found), re.S)
            return from_worker[1].strip() if from_worker else str(found)
        if isinstance(found, OSError) and found.errno in _DISK:
            return f"a file cannot be written ({found}); make room, or write somewhere else"
    return None


def _is_of_a_disk(error: BaseException) -> bool:
    """Return True if what is told is the fault of a disk, and of no command."""
    from datamodules.errors import ShardError, UserError

    for found in _causes(error):
        if isinstance(found, OSError | ShardError):
            return True
        if isinstance(found, UserError):
            return False
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__
