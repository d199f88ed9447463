"""The shipped configs, with purpose and target as the comments at their heads say them."""

import re
import textwrap
from dataclasses import dataclass

from datamodules.errors import UserError
from lightning_modules.console import nearest
from lightning_modules.parsing.config_names import config_names, shipped_configs

KINDS = {
    "": "whole runs",
    "data": "data layers: which videos, and how clips are taken from them",
    "model": "model layers: which network, and how it learns",
    "trainer": "trainer layers: where it runs",
    "override": "overrides: differences, given last",
    "recipe": "recipes: a paper's training and test, with the accuracy to reach",
}
"""Folders of configs, and what lies in each."""

_INDENT = " " * 6


@dataclass(frozen=True)
class ConfigNote:
    """Facts that the head of a config states.

    Attributes:
        name: Its name, as `--config` takes it.
        purpose: The first sentence.
        target: Accuracy to reach; empty where there is none.
    """

    name: str
    purpose: str
    target: str


def read_note(name: str) -> ConfigNote:
    """Read the comment at the head of a shipped config.

    Args:
        name: One of `config_names`.
    """
    text = (shipped_configs() / f"{name}.yaml").read_text(encoding="utf-8")
    head = re.match(r"(?:#.*\n)*", text)
    lines = [line.lstrip("#").strip() for line in head[0].splitlines()] if head else []
    told = [line for line in lines if not line.startswith("uv run kinetoscope")]
    first = re.search(r"[^|]+", "\n".join(told).strip() + "\n")
    sentences = " ".join(first[0].split()) if first else ""
    purpose, _, rest = re.sub(r"Targets?\b[:,]?", "\0", sentences, count=1).partition("\0")
    if not rest:
        purpose = re.split(r"(?<=[^A-Z])[.:] (?=[A-Z])", purpose)[0]
    target = re.split(r"(?<=\w\w|.\d|.\))\. (?=[A-Z])", rest.strip())[0]
    row = re.search(r"^\|(?![- |]*\|$)(?! options).*$", "\n".join(told), re.MULTILINE)
    if target.endswith(":") and row is not None:
        cells = [cell.strip() for cell in row[0].strip("|").split("|")]
        target = f"{target} {', '.join(filter(None, cells[1:2]))} {cells[0]}".strip()
    return ConfigNote(name, purpose.strip(" .,"), target.rstrip(".,:"))


def list_configs(columns: int) -> str:
    """Write every config with its purpose and target, a line each, by kind.

    Args:
        columns: Width of the terminal.
    """
    notes = [read_note(name) for name in config_names()]
    parts = []
    for folder, title in KINDS.items():
        lines = [f"{title}:"]
        for note in notes:
            if note.name.rpartition("/")[0] == folder:
                lines += _lines(note, columns)
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, "kinetoscope configs NAME shows one whole."]) + "\n"


def _lines(note: ConfigNote, columns: int) -> list[str]:
    told = [note.purpose, f"Target: {note.target}"] if note.target else [note.purpose]
    room = columns - len(_INDENT)
    return [
        f"  {note.name}",
        *(_INDENT + textwrap.shorten(t, room, placeholder=" ...") for t in told),
    ]


def show_config(name: str) -> str:
    """Write all that the head of a config says, and its keys.

    Args:
        name: One of `config_names`; `configs/` may stand before it and `.yaml` behind.

    Raises:
        UserError: If there is no such config.
    """
    plain = name.removeprefix("configs/").removesuffix(".yaml")
    if plain not in config_names():
        raise UserError(
            f"there is no config {name!r}{nearest(plain, config_names())}; `kinetoscope configs` "
            "lists all"
        )
    return (shipped_configs() / f"{plain}.yaml").read_text(encoding="utf-8")
