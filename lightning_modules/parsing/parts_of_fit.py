"""The words of a fit in a tool that needs only some of its parts."""

import re
from argparse import SUPPRESS
from collections.abc import Sequence

from jsonargparse import ArgumentParser


def ignore_parts(parser: ArgumentParser, parts: Sequence[str]) -> None:
    """Let a parser take parts of a config as they are.

    Args:
        parser: The parser.
        parts: Top-level keys, such as `trainer`.
    """
    for key in parts:
        parser.add_argument(f"--{key}", type=_unchecked, default=None, help=SUPPRESS)


def _unchecked(value: object) -> object:
    """Take a part of a config as it is."""
    return value


def without_parts(words: Sequence[str], parts: Sequence[str]) -> list[str]:
    """Leave out the options that belong to parts of a fit, with their values.

    Args:
        words: Options.
        parts: Top-level keys.
    """
    kept: list[str] = []
    skipping = False
    for word in words:
        if word.startswith("--"):
            skipping = re.split(r"[.=]", word[2:])[0] in parts
            if skipping:
                continue
        elif skipping:
            continue
        kept.append(word)
    return kept
