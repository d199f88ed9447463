"""Every command that README, guides and configs print: its own parser takes all of its words.

What the commands do is tested where they are; here no page may name an option, a key, a config or a
class that is not there. Words in capitals stand for a user's own.
"""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import PROJECT_ROOT, QUICKSTART

from lightning_modules.cli import COMMANDS, main
from lightning_modules.console import ToolParser
from lightning_modules.parsing.parser import VideoParser

PAGES = [
    *(PROJECT_ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((PROJECT_ROOT / "docs").glob("*.md")),
    *sorted((PROJECT_ROOT / "configs").rglob("*.md")),
]
PRINTED = re.compile(rf"(?:^|[`\s])kinetoscope ((?:{'|'.join(COMMANDS)}) [^`\n]*)", re.MULTILINE)
OPEN = re.compile(r"\.\.\.|\[|\{|…|my_lab| --shard_mb 2$|=WORD$")
"""Marks of a command that is not printed whole, or that another test runs."""
SHELL = re.compile(r"\s(?:#|\||>|&&|2>)")


def printed_by(page: Path) -> list[str]:
    """The commands of a page without what a shell does with them."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [SHELL.split(found)[0].strip() for found in PRINTED.findall(text)]
    lines = [line.rstrip("'") if line.count("'") % 2 else line for line in lines]
    return [line for line in lines if not OPEN.search(line)]


COMMANDS_OF_PAGES = {line: page.name for page in reversed(PAGES) for line in printed_by(page)}


def with_stand_ins(words: list[str]) -> list[str]:
    """The words with what a user has: a config of a run, a number in a loop, a whole fit."""
    words = [re.sub(r"\$seed|^N$", "0", word).replace("max_tsn", "tsn") for word in words]
    words = [QUICKSTART if re.match(r"runs/.*\.yaml$", word) else word for word in words]
    if words[0] in ("fit", "test", "validate", "prepare", "doctor") and "--config" not in words:
        words[1:1] = ["--config", QUICKSTART]
    return words


class ParsedError(Exception):
    """Raised where a command would begin its work."""


@pytest.fixture
def parsing_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands end where their words are parsed."""
    for kind in (ToolParser, VideoParser):
        monkeypatch.setattr(kind, "parse_args", ending(kind.parse_args))


def ending(own: Callable[..., Any]) -> Callable[..., Any]:
    """A parser's method that ends the command, unless a parser within a parser called it."""
    depth = 0

    def parse_args(*words: Any, **options: Any) -> Any:
        nonlocal depth
        depth += 1
        try:
            found = own(*words, **options)
        finally:
            depth -= 1
        if not depth:
            raise ParsedError
        return found

    return parse_args


def test_pages_print_commands() -> None:
    assert len(COMMANDS_OF_PAGES) > 70
    named = {line.split()[0] for line in COMMANDS_OF_PAGES}
    assert set(COMMANDS) - named <= {"validate", "completion", "models", "configs", "export"}


@pytest.mark.parametrize("line", COMMANDS_OF_PAGES)
@pytest.mark.usefixtures("parsing_alone")
def test_command_is_taken(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    words = with_stand_ins(shlex.split(line))
    try:
        main(words)
    except ParsedError:
        return
    except SystemExit:
        said = capsys.readouterr().err
        would_read_data = "data.root" in said or "data.annotations" in said
        assert would_read_data or "--help=all" in words, said
    else:
        assert any(word.startswith("--help") for word in words), "nothing was parsed"
