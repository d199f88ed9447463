"""Output of commands: lines on standard output, one sentence on a user's mistake."""

import argparse
import difflib
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

COMMAND = "kinetoscope"
USER_ERROR = 2
STORAGE_ERROR = 74
OTHER_FOLDER = "make room, or name another folder with --out"
"""Advice where nothing can be written; the end of a sentence."""


def say(text: str) -> None:
    """Write a line to standard output, on the first rank only, without logins in addresses."""
    # imported here, so that `kinetoscope --help` does not import torch
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from datamodules.redaction import without_addresses

    @rank_zero_only
    def write() -> None:
        sys.stdout.write(f"{without_addresses(text)}\n")
        sys.stdout.flush()

    write()


def fail(sentence: str, code: int = USER_ERROR) -> NoReturn:
    """End the command on a user's mistake: one sentence on standard error, exit code 2.

    Args:
        sentence: The sentence.
        code: Another exit code, where it is not the user's mistake.
    """
    sys.stderr.write(f"{COMMAND}: {sentence}\n")
    sys.stderr.flush()
    raise SystemExit(code)


def fail_for(failed: Sequence[tuple[str, str]], lack: str, noun: str = "video") -> None:
    """End the command with exit code 1 where some videos could not be done, and name them.

    Args:
        failed: Videos and the reasons; none if all was done.
        lack: What is to be said of them, such as `have no flow`.
        noun: What they are, where they are no videos.
    """
    if failed:
        lines = "".join(f"\n  {video}: {reason}" for video, reason in failed)
        fail(f"{len(failed)} {noun}(s) {lack}:{lines}", 1)


def num_processes(given: int | None, default: int) -> int:
    """Read `--workers`; ends the command where it is too small.

    Args:
        given: The user's number; None for the default.
        default: The default, a number of processes.
    """
    workers = default if given is None else given
    if workers < 0:
        fail(f"--workers {workers} is too small; give at least 0")
    return workers


def nearest(word: str, known: Iterable[str]) -> str:
    """Make a clause that offers the names closest to a misspelt one, empty if none is near."""
    found = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def some_of(names: Sequence[str], most: int = 5) -> str:
    """List the first names, and say so where there are more."""
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


_MISTAKES = (
    (r"arguments are required: (.*)", "required and not given: {}"),
    (r"argument (?:-\w/)?(\S+): expected (?:at least )?one argument", "{} needs a value"),
    (
        r"argument (?:-\w/)?-*(\S+): invalid (\S+) value: '(.*)'",
        "{0}={2} does not fit: it must be {1}",
    ),
)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help with the default behind each option, and with indented paragraphs as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(
            part if "\n  " in f"\n{part}" else textwrap.fill(part, width) for part in paragraphs
        )

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_default = action.option_strings and action.default not in (None, False, [])
        shown = has_default and action.default != argparse.SUPPRESS
        return f"{action.help} (%(default)s)" if shown else action.help


class OneSentenceParser(argparse.ArgumentParser):
    """A parser that knows no abbreviations, and ends on a mistake with one sentence."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with one sentence and exit code 2, without pages of usage and without secrets."""
        from datamodules.redaction import without_pairs

        fail(without_pairs(self.explain(message)))

    def explain(self, message: str) -> str:
        """Explain a message of the parser to a user, with the nearest option.

        Args:
            message: The parser's message, often many lines.
        """
        if found := re.search(r"unrecognized arguments: ([^\s=]+)", message):
            return self._unknown(found[1])
        for pattern, sentence in _MISTAKES:
            if found := re.search(pattern, message):
                message = sentence.format(*found.groups())
        text = re.sub(r"\s+", " ", message).strip()[:500]
        return f"{text} (all options: {self._command} --help)"

    def _unknown(self, word: str) -> str:
        if not word.startswith("-"):
            return f"the word {word!r} belongs to no option; write options as --key value"
        shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
        options = [option for action in shown for option in action.option_strings]
        return f"{self._command} has no option {word}{nearest(word, options)}"

    @property
    def _command(self) -> str:
        """The words before the options; a subcommand's `prog` has those of its parent between."""
        first, *others = self.prog.split()
        return " ".join([first, *others[-1:]])


class ToolParser(OneSentenceParser):
    """Argument parser of a tool.

    Args:
        tool: The command.
        description: Its purpose, for `--help`.
    """

    def __init__(self, tool: str, description: str) -> None:
        super().__init__(
            prog=f"{COMMAND} {tool}", description=description, formatter_class=HelpFormatter
        )
