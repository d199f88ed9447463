"""A page for each shipped config: purpose, target, content."""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from lightning_modules.console import COMMAND
from lightning_modules.guidance.config_list import KINDS, ConfigNote, read_note, show_config
from lightning_modules.parsing.config_names import config_names
from pages.cells import cell, fence, table

FOLDER = "reference/configs"


@dataclass(frozen=True)
class Config:
    """A shipped config.

    Attributes:
        note: Its purpose and target.
        text: Its content.
        classes: Names of the classes of ours that it names.
        network: The network that it trains; empty where it names none.
        named: Networks that its head offers besides.
    """

    note: ConfigNote
    text: str
    classes: tuple[str, ...]
    network: str
    named: tuple[str, ...]


def read_config(name: str) -> Config:
    """Read a shipped config.

    Args:
        name: One of `config_names`.
    """
    text = show_config(name)
    content: dict[str, Any] = yaml.safe_load(text) or {}
    model = content.get("model") or {}
    classes = re.findall(r"class_path: (?:datamodules|lightning_modules)\.(\w+)", text)
    head = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    return Config(
        read_note(name),
        text,
        tuple(dict.fromkeys(classes)),
        str((model.get("init_args") or {}).get("network", "")),
        tuple(dict.fromkeys(re.findall(r"--model\.network (\w+)", head))),
    )


def config_pages() -> dict[str, str]:
    """Write the page of every shipped config, and one that lists them by kind."""
    configs = {name: read_config(name) for name in config_names()}
    index = (
        "# Configs\n\nEach comes with the package and is given by its name, in any folder: "
        f"`{COMMAND} fit --config NAME`. How layers combine is told in "
        "[configs](../../configs.md).\n\n"
    )
    for folder, title in KINDS.items():
        here = [c.note for name, c in configs.items() if name.rpartition("/")[0] == folder]
        index += f"## {title[0].upper()}{title[1:]}\n\n"
        rows = [
            (f"[`{note.name}`]({note.name}.md)", cell(note.purpose), cell(note.target))
            for note in here
        ]
        index += table(("config", "purpose", "target"), rows)
    pages = {f"{FOLDER}/index.md": index}
    for name, config in configs.items():
        up = "../" * name.count("/")
        pages[f"{FOLDER}/{name}.md"] = _page(config, up)
    return pages


def _page(config: Config, up: str) -> str:
    note = config.note
    text = f"# {note.name}\n\n{cell(note.purpose)}.\n\n"
    if note.target:
        text += f"**Target:** {cell(note.target)}.\n\n"
    text += fence(f"{COMMAND} fit --config {note.name}") if not note.name.count("/") else ""
    if config.classes:
        links = ", ".join(f"[`{name}`]({up}../classes/{name}.md)" for name in config.classes)
        text += f"Arguments: {links}.\n\n"
    return text + fence(config.text, "yaml") + f"[All configs]({up}index.md)\n"
