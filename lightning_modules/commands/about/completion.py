"""kinetoscope completion: a script with which a shell completes commands, keys and config names."""

import sys
from collections.abc import Sequence
from importlib import import_module

from lightning_modules.cli import COMMANDS
from lightning_modules.console import ToolParser
from lightning_modules.guidance.completion import SHELLS, completion_script


def run(words: Sequence[str]) -> None:
    """Run the command.

    Args:
        words: `completion` and its options.
    """
    options = _parser().parse_args(words[1:])
    commands = {name: import_module(module).run for name, (module, _) in COMMANDS.items()}
    sys.stdout.write(completion_script(options.shell, commands))


def _parser() -> ToolParser:
    parser = ToolParser(
        "completion",
        "Write a script with which a shell completes commands, options, keys, classes, networks "
        "and config names. In bash: kinetoscope completion bash > "
        "~/.local/share/bash-completion/completions/kinetoscope, and open a new shell. In zsh: "
        "kinetoscope completion zsh > ~/.kinetoscope.zsh, and `source ~/.kinetoscope.zsh` in "
        "~/.zshrc.",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser
