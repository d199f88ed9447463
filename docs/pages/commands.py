"""A page for each command, from what its help says, and one for each topic of a fit's keys."""

import argparse
import re
from contextlib import suppress
from importlib import import_module
from itertools import groupby
from textwrap import dedent
from unittest.mock import patch

from datamodules.jobs.processes import num_cores
from lightning_modules.cli import COMMANDS
from lightning_modules.console import COMMAND
from lightning_modules.guidance.first_screen import SCREENS, TOPICS, first_screen
from lightning_modules.guidance.keys import keys_of
from lightning_modules.parsing.parser import allow_known_classes
from pages.cells import cell, fence, sections, table

FOLDER = "reference/commands"
KEYS = "reference/keys"

_OPTION = re.compile(r"^  (?! )(-.*?)(?: {2,}(.*))?$")
"""A line of a first screen that begins an option."""


def parser_of(name: str) -> argparse.ArgumentParser:
    """Ask a command for its help, and return the parser that would print it.

    Args:
        name: A key of `COMMANDS` that is none of `SCREENS`.
    """
    asked: list[argparse.ArgumentParser] = []

    def note(parser: argparse.ArgumentParser, file: object = None) -> None:
        asked.append(parser)

    run = import_module(COMMANDS[name][0]).run
    with patch.object(argparse.ArgumentParser, "print_help", note), suppress(SystemExit):
        run([name, "--help"])
    return asked[0]


def command_pages() -> dict[str, str]:
    """Write the page of every command, and one that lists them."""
    allow_known_classes()
    rows = [(f"[`{name}`]({name}.md)", cell(purpose)) for name, (_, purpose) in COMMANDS.items()]
    pages = {
        f"{FOLDER}/index.md": "# Commands\n\n"
        + table(("command", "what it does"), rows)
        + "Every command takes `--plugins FILE.py`: networks, datasets, samplers, losses of your "
        f"own ([extending](../../extending.md)). `{COMMAND} COMMAND --help` says the same in a "
        "terminal; [exit codes](../../command_line.md#exit-codes) are those of all commands.\n"
    }
    for name, (_, purpose) in COMMANDS.items():
        body = _screen_page(name) if name in SCREENS else _parser_page(parser_of(name))
        pages[f"{FOLDER}/{name}.md"] = f"# {COMMAND} {name}\n\n{_sentence(purpose)}\n\n{body}"
    return pages


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _prose(text: str) -> str:
    """Write paragraphs of a help, and its indented lines as code."""
    parts = []
    for indented, lines in groupby(text.split("\n"), lambda line: line.startswith("  ")):
        told = dedent("\n".join(lines)).strip("\n")
        if indented:
            parts.append(fence(told))
        else:
            paragraphs = re.split(r"\n{2,}", told)
            parts += [" ".join(part.split()).replace("<", "&lt;") for part in paragraphs]
    return sections(*parts)


def _parser_page(parser: argparse.ArgumentParser) -> str:
    """Write usage, description, options by group, and epilog of a parser."""
    usage = parser.format_usage().removeprefix("usage: ")
    parts = [fence(usage), _prose(parser.description or "")]
    for group in parser._action_groups:
        rows = [
            _row(action)
            for action in group._group_actions
            if action.help != argparse.SUPPRESS
            and not isinstance(action, argparse._HelpAction)
            and type(action).__name__ != "ActionLink"  # jsonargparse's: nobody gives it
        ]
        if rows:
            heads = "option", "meaning", "default"
            parts += [f"## {_heading(group)}", _prose(group.description or ""), table(heads, rows)]
    return sections(*parts, _prose(parser.epilog or ""))


def _heading(group: argparse._ArgumentGroup) -> str:
    """Name a group of options; one of a class of ours by the part of a fit that it is."""
    known = {"positional arguments": "Arguments", "options": "Options"}
    options = {option for action in group._group_actions for option in action.option_strings}
    title = group.title or "More"
    for part in ("data", "model"):
        if title not in known and f"--{part}.help" in options:
            return f"Keys of a fit: {part}"
    return known.get(title, f"{title[:1].upper()}{title[1:]}")


def _row(action: argparse.Action) -> tuple[str, str, str]:
    """Write an option as cells."""
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    meaning = (action.help or "").replace("%%", "%")
    default = "" if action.default in (None, False, [], argparse.SUPPRESS) else str(action.default)
    if action.dest == "workers" and action.default == num_cores():
        default = "one per core"
    if action.required and action.option_strings:
        default = "required"
    cells = f"{names}{_value(action)}", cell(meaning)
    return *cells, f"`{default}`" if default else ""


def _value(action: argparse.Action) -> str:
    """Write what stands behind an option, or the name of what stands alone."""
    if action.option_strings and action.nargs == 0:
        return ""
    if action.choices:
        return f" `{{{','.join(map(str, action.choices))}}}`"
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return f" `{metavar.split('.')[-1]}`"


def _screen_page(name: str) -> str:
    """Write a first screen: its usage and examples as code, its options as tables."""
    usage, _, rest = first_screen(name).partition("\n")
    parts = [fence(usage.removeprefix("usage: "))]
    title = "Options"
    rows: list[list[str]] = []
    prose: list[str] = []
    for line in [*rest.split("\n"), "End"]:
        option = _OPTION.match(line)
        if option:
            names = option[1].strip().split(", ")
            rows.append(["<br>".join(f"`{name}`" for name in names), option[2] or ""])
        elif rows and line.startswith("   "):
            rows[-1][1] += f" {line.strip()}"
        elif line and not line.startswith(" ") and (rows or _heads_options(line, rest)):
            parts += [_prose("\n".join(prose)), _options(title, rows)]
            title, rows, prose = line, [], []
        else:
            prose.append(line)
    return sections(
        *parts,
        f"Every key of a topic, with meaning and default: {_topics()}. A dataset's and a family's "
        "arguments stand with [its class](../classes/index.md).",
    )


def _heads_options(line: str, rest: str) -> bool:
    """Return True for a line that has options right below it."""
    return f"\n{line}\n  --" in rest


def _options(title: str, rows: list[list[str]]) -> str:
    cells = [(option, cell(meaning)) for option, meaning in rows]
    return f"## {title}\n\n" + table(("option", "meaning"), cells) if cells else ""


def _topics() -> str:
    return ", ".join(f"[{topic}](../keys/{topic}.md)" for topic in TOPICS)


def key_pages() -> dict[str, str]:
    """Write a page for each topic of `fit --help=TOPIC`."""
    allow_known_classes()
    return {f"{KEYS}/{topic}.md": _key_page(topic) for topic in TOPICS}


def _key_page(topic: str) -> str:
    keys = keys_of(topic)
    text = (
        f"# Keys: {topic}\n\n{_sentence(TOPICS[topic])} In a config as nested keys, on the "
        "command line as `--KEY VALUE`; a default stands in brackets. "
        f"`{COMMAND} fit --help={topic}` shows the same.\n\n"
    )
    for owner in dict.fromkeys(key.owner for key in keys):
        if owner:
            text += f"## Of {owner} alone\n\n"
        rows = [(f"`{key.name}`", cell(key.meaning)) for key in keys if key.owner == owner]
        text += table(("key", "meaning"), rows)
    return text
