"""Completion for shells: a script that knows commands, options, keys, classes and config names."""

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from importlib.metadata import version
from types import ModuleType

import datamodules
import lightning_modules
from lightning_modules.console import COMMAND
from lightning_modules.guidance.first_screen import SCREENS, TOPICS
from lightning_modules.parsing.config_names import config_names
from lightning_modules.parsing.parser import LINKED, allow_known_classes, known_keys
from models import list_models

SHELLS = ("bash", "zsh")

_SCRIPT = """\
# Completion of {name} {version}, made by `{name} completion {shell}`; make it anew after an update.
_{name}() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" options=""
  if [[ "$word" == "=" ]]; then word=""
  elif [[ "$before" == "=" ]]; then before="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    return
  fi
  case "$before" in
{values}
  esac
  [[ "$word" == -* ]] || return
  case "${{COMP_WORDS[1]}}" in
{options}
  esac
  COMPREPLY=($(compgen -W "$options" -- "$word"))
}}
complete -o default -F _{name} {name}
"""

_ZSH = """\
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
"""


def completion_script(shell: str, commands: Mapping[str, Callable[[Sequence[str]], None]]) -> str:
    """Write the script that a shell reads at its start.

    Args:
        shell: One of `SHELLS`.
        commands: The commands by name.
    """
    allow_known_classes()
    every = [f"{group}.{key}".lstrip(".") for group, names in known_keys().items() for key in names]
    keys = {f"--{key}" for key in every if key not in LINKED}
    fit = sorted(keys | {f"--help={topic}" for topic in TOPICS})
    about_data = [key for key in fit if key.startswith(("--data", "--config", "--seed"))]
    more = {"prepare": fit, "doctor": about_data, "explain": about_data}
    options = {
        name: fit if name in SCREENS else sorted({*_options_of(name, run), *more.get(name, [])})
        for name, run in commands.items()
    }
    script = _SCRIPT.format(
        name=COMMAND,
        version=version(COMMAND),
        shell=shell,
        commands=" ".join(commands),
        values="\n".join(f"    {case}" for case in _values()),
        options="\n".join(
            f'    {name}) options="{" ".join(words)}" ;;' for name, words in options.items()
        ),
    )
    return (_ZSH if shell == "zsh" else "") + script


def _options_of(name: str, run: Callable[[Sequence[str]], None]) -> list[str]:
    """List the options that the help of a command names."""
    shown = io.StringIO()
    with redirect_stdout(shown), suppress(SystemExit):
        run([name, "--help"])
    return re.findall(r"^ +(?:-\w, )?(--[a-z][\w.]*)", shown.getvalue(), re.MULTILINE)


def _values() -> list[str]:
    """Write what stands behind an option, where that is known."""

    def case(option: str, words: Iterable[str], files: str = "") -> str:
        return (
            f'{option}) COMPREPLY=($(compgen {files}-W "{" ".join(words)}" -- "$word")); return ;;'
        )

    packages: dict[str, tuple[ModuleType, str]] = {
        "--data": (datamodules, "DataModule"),
        "--model": (lightning_modules, "Module"),
    }
    classes = {
        option: [name for name in package.__all__ if name.endswith(end)]
        for option, (package, end) in packages.items()
    }
    return [
        case("--config|-c", config_names(), files="-f "),
        case("--model.network|--network", list_models()),
        *(case(option, names) for option, names in classes.items()),
        case("--ckpt_path", ["last", "best"], files="-f "),
        case("--trainer.accelerator", ["auto", "cpu", "gpu"]),
        case("--model.init_from", ["imagenet", "library"], files="-f "),
    ]
