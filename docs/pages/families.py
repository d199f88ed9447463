"""Facts about each family, from registry, documented sizes, recipes and docstrings.

The words and equations stand in `docs/families/`, one file for each family; what is found in the
code is put in front of the last line of that file.
"""

import inspect
import re
from importlib import import_module
from pathlib import Path

from lightning_modules.base import VideoClassifier
from lightning_modules.parsing.config_names import config_names
from models import list_models
from models.documented import DOCUMENTED_SIZES, DocumentedSize
from models.registry import MODELS
from pages.arguments import arguments_of_class
from pages.cells import cell, table
from pages.classes import public_classes
from pages.configs import Config, read_config

DOCS = Path(__file__).resolve().parents[1]
FOLDER = "families"


def family_files() -> list[Path]:
    """List the hand-written files, a family each."""
    return sorted((DOCS / FOLDER).glob("*.md"))


def prefixes_of(text: str) -> list[str]:
    """Read which networks a page is about.

    Args:
        text: The page, with a line such as "Networks: `cost_a_*`, `cost_b_*`".
    """
    line = re.search(r"^Networks: (.*)$", text, re.MULTILINE)
    assert line is not None, "a family's page says which networks it is about"
    return re.findall(r"`(\w+)_\*`", line[1])


def prefix_of(network: str) -> str:
    """Return the family's part of a network's name."""
    return network.rpartition("_")[0]


def with_facts(text: str) -> str:
    """Put what the code says of a family in front of the last line of its page.

    Args:
        text: The hand-written page.
    """
    words, _, footer = text.rstrip("\n").rpartition("\n")
    prefixes = prefixes_of(text)
    networks = [name for name in list_models() if prefix_of(name) in prefixes]
    facts = [
        _paper(prefixes),
        _sizes(networks),
        _recipes(prefixes),
        _options(prefixes),
        _words_of_code(networks),
    ]
    return f"{words.rstrip()}\n\n{''.join(facts)}{footer}\n"


def _paper(prefixes: list[str]) -> str:
    """Quote the rows of the list of papers."""
    text = (DOCS / "papers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+_\*`.*?) \| (.*) \|$", text, re.MULTILINE)
    named = {row for prefix in prefixes for row in rows if f"`{prefix}_*`" in row[0]}
    lines = [f"- {citation}\n" for names, citation in rows if (names, citation) in named]
    return f"## Paper\n\n{''.join(lines)}\n[How to cite](../papers.md#to-cite).\n\n"


def _sizes(networks: list[str]) -> str:
    """Tabulate parameters and multiply-adds at every documented setting."""
    rows = [_size(size) for size in DOCUMENTED_SIZES if size.network in networks]
    text = "## Sizes\n\n" + table(
        ("network", "classes", "clip", "parameters", "GMACs", "documented for"), rows
    )
    text += "Multiply-adds of one clip, frames x pixels. `kinetoscope models --check` counts anew. "
    return text + f"All names: {', '.join(f'`{name}`' for name in networks)}.\n\n"


def _size(size: DocumentedSize) -> tuple[str, ...]:
    options = ", ".join(f"{key}={value}" for key, value in size.options.items())
    network = f"`{size.network}`" + (f" with `{options}`" if options else "")
    gmacs = "" if size.gmacs is None else f"{size.gmacs:g}"
    clip = f"{size.frames} x {size.size}"
    return network, str(size.num_classes), clip, f"{size.parameters:,}", gmacs, size.source


def _recipes(prefixes: list[str]) -> str:
    """Tabulate the recipes that train the family, then those that offer it as an option."""
    configs = [read_config(name) for name in config_names()]
    own = [c for c in configs if c.network and prefix_of(c.network) in prefixes]
    offered = [
        c
        for c in configs
        if c not in own and any(prefix_of(network) in prefixes for network in c.named)
    ]
    rows = [(*_link(c), f"`{c.network}`", cell(c.note.target)) for c in own]
    text = "## Recipes and configs\n\n" + table(("config", "network", "target"), rows)
    if own:
        text += "A target is the paper's or its authors' result, and none of this project's.\n\n"
    if offered:
        links = ", ".join(link for c in offered for link in _link(c))
        text += f"As an option (`--model.network`) of: {links}.\n\n"
    return text


def _link(config: Config) -> tuple[str]:
    return (f"[`{config.note.name}`](../reference/configs/{config.note.name}.md)",)


def _options(prefixes: list[str]) -> str:
    """Tabulate what the family's LightningModule takes beside the arguments of all."""
    text = "## Options\n\n"
    for name, (_, kind) in public_classes().items():
        if not issubclass(kind, VideoClassifier) or not set(kind.families) & set(prefixes):
            continue
        rows = [
            (f"`--model.{a.name}`", f"`{a.kind}`", f"`{a.default}`", cell(a.meaning))
            for a in arguments_of_class(kind)
            if a.owner == name
        ]
        text += f"Of [`{name}`](../reference/classes/{name}.md), beside those of all families"
        text += " ([VideoClassifier](../reference/classes/VideoClassifier.md)):\n\n"
        text += table(("option", "type", "default", "meaning"), rows)
    return text


def _words_of_code(networks: list[str]) -> str:
    """Quote the heads of the files of the networks: what they follow, and where they depart."""
    modules = dict.fromkeys(MODELS[name].partition(":")[0] for name in networks)
    text = "## What is followed, and where it departs\n\n"
    for module in modules:
        head = inspect.getdoc(import_module(module)) or ""
        paragraphs = head.split("\n\n")[1:]
        told = [p for p in paragraphs if not p.startswith("Axes:")]
        text += f"`{module.replace('.', '/')}.py`:\n\n" + "".join(f"{p}\n\n" for p in told)
    return text
