"""Hook of MkDocs: pages from the code, README and configs' guides in the site, links, formulas.

`mkdocs.yml` names it. The guides stay where they are and are read on a code host as they stand;
what is made here is never committed. Nothing is fetched.
"""

import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.structure.pages import Page  # noqa: E402

from pages.families import FOLDER as FAMILIES  # noqa: E402
from pages.families import with_facts  # noqa: E402
from pages.formulas import with_formulas  # noqa: E402
from pages.links import ELSEWHERE, with_site_links  # noqa: E402
from pages.made import made_pages  # noqa: E402

_MADE = made_pages()
_BEHIND = "---\nsearch:\n  boost: 0.3\n---\n"
"""Head of a page that the search names behind the guides."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the places of `nav` that end in `/*` with the pages of that folder."""
    config.nav = [_filled(item) for item in config.nav or []]
    return config


def _filled(item: Any) -> Any:
    """Return an entry of the navigation with its places filled."""
    if isinstance(item, list):
        return [_filled(part) for part in item]
    if isinstance(item, dict):
        return {title: _filled(part) for title, part in item.items()}
    if not item.endswith("/*"):
        return item
    folder = item.removesuffix("*")
    made = [uri for uri in _MADE if uri.startswith(folder)]
    return made + [_named(path) for path in sorted(DOCS.glob(f"{folder}*.md"))]


def _named(path: Path) -> dict[str, str]:
    """Return a hand-written page under the first words of its title."""
    title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return {title.partition(":")[0]: path.relative_to(DOCS).as_posix()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in `docs/`."""
    for source, uri in ELSEWHERE.items():
        text = (DOCS.parent / source).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=text))
    for uri, text in _MADE.items():
        head = _BEHIND if uri.startswith("reference/") else ""
        files.append(File.generated(config, uri, content=head + text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links and formulas; add to a family's page what the code says of it."""
    uri = page.file.src_uri
    if uri in _MADE:
        return markdown
    text = with_site_links(markdown, uri)
    if uri.startswith(f"{FAMILIES}/"):
        text = with_facts(text)
    return with_formulas(text)
