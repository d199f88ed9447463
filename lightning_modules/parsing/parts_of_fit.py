"""The words of a fit in a tool that needs only some of its parts."""

import re
from argparse import SUPPRESS
from collections.abc import Sequence

from jsonargparse import ArgumentParser

PARTS = (
    *("model", "data", "trainer", "run", "seed_everything", "optimizer", "lr_scheduler"),
    *("ckpt_path", "out", "weights_only"),  # as the config of a run has them
)
"""Top-level keys of a fit."""


def parts_but(*parts: str) -> tuple[str, ...]:
    """List the keys of a fit that a tool ignores: all but some."""
    return tuple(key for key in PARTS if key not in parts)


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


def take_parts(words: Sequence[str], parts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide the words of a tool that takes parts of a fit among options of its own.

    Args:
        words: Options, and words that belong to none.
        parts: Top-level keys of the parts.

    Returns:
        The options of the parts, each with at most one value, and all other words.
    """
    theirs: list[str] = []
    others: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        key, equals, _ = word.removeprefix("--").partition("=")
        if not word.startswith("--") or key.split(".")[0] not in parts:
            others.append(word)
            continue
        theirs.append(word)
        if not equals and waiting and not waiting[0].startswith("--"):
            theirs.append(waiting.pop(0))
    return theirs, others
