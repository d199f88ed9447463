"""How commands speak: lines on standard output, one sentence on a user's mistake."""

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

COMMAND = "kinetoscope"
USER_ERROR = 2


def say(text: str) -> None:
    """Write a line to standard output, on the first rank only."""
    # imported here, so that `kinetoscope --help` does not import torch
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    @rank_zero_only
    def write() -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    write()


def fail(sentence: str) -> NoReturn:
    """End the command on a user's mistake: one sentence on standard error, exit code 2."""
    sys.stderr.write(f"{COMMAND}: {sentence}\n")
    sys.stderr.flush()
    raise SystemExit(USER_ERROR)


def nearest(word: str, known: Iterable[str]) -> str:
    """A clause that offers the names closest to a misspelt one, empty where none is near."""
    found = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(found)}?" if found else ""


class ToolParser(argparse.ArgumentParser):
    """Argument parser of a tool: no abbreviations, mistakes in one sentence."""

    def __init__(self, tool: str, description: str) -> None:
        super().__init__(
            prog=f"{COMMAND} {tool}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """End with the sentence alone, without the usage lines."""
        fail(f"{message} (all options: {self.prog} --help)")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse, offering the nearest option for one that does not exist."""
        values, unknown = self.parse_known_args(words)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            word = unknown[0].split("=")[0]
            fail(f"{self.prog} has no option {word}{nearest(word, options)}")
        return values
