"""All pages that are made from the code."""

from functools import cache

from lightning_modules.parsing.config_names import config_names
from pages.classes import class_pages
from pages.commands import command_pages, key_pages
from pages.configs import config_pages
from pages.families import DOCS
from pages.notebook import notebook_page

INDEX = """\
# Reference

Made from the code at every build: it says what this version takes.

- [Commands](commands/index.md): what `kinetoscope COMMAND --help` says.
- [Keys](keys/data.md) of a fit, by topic: [data](keys/data.md), [model](keys/model.md),
  [training](keys/training.md), [trainer](keys/trainer.md), [run](keys/run.md).
- [Configs](configs/index.md): layers and recipes, with purpose, target and content.
- [Classes](classes/index.md): datasets, families, networks, settings, and their arguments;
  [functions](functions.md).
- [Families](../families/cost.md): what each network is, its equations, sizes, recipes, proofs.
"""


@cache
def made_pages() -> dict[str, str]:
    """Write every page that is made: its place in the site, and its text."""
    return {
        "reference/index.md": INDEX,
        **command_pages(),
        **key_pages(),
        **config_pages(),
        **class_pages(config_names()),
        "labelling_notebook.md": notebook_page(DOCS / "labelling.ipynb"),
    }
