"""Links of files that lie elsewhere in the project, as the site has them."""

import re
from collections.abc import Callable
from posixpath import dirname, join, normpath, relpath

from pages.configs import FOLDER as CONFIGS

ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "configs/README.md": "configs.md",
    "configs/slurm/README.md": "slurm.md",
}
"""Files outside of `docs/` that the site shows, and where."""

_SOURCES = {uri: source for source, uri in ELSEWHERE.items()}


def source_of(uri: str) -> str:
    """Return the path of a page's file below the project's root."""
    return _SOURCES.get(uri, f"docs/{uri}")


def place_of(path: str) -> str | None:
    """Return where the site has a file of the project; None where it has not."""
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    config = re.fullmatch(r"configs/(.*)\.yaml", path)
    return f"{CONFIGS}/{config[1]}.md" if config else None


def with_site_links(text: str, uri: str) -> str:
    """Turn the links of a page, which hold between the project's files, into the site's.

    A link to a file that the site does not show stays as it is, and `mkdocs build --strict` names
    it.

    Args:
        text: The page.
        uri: Its place in the site.
    """
    folder = dirname(source_of(uri))

    def turned(found: re.Match[str]) -> str:
        link = found[1]
        name, hash_, anchor = link.partition("#")
        if not name or "://" in link:
            return found[0]
        place = place_of(normpath(join(folder, name)))
        if place is None:
            return found[0]
        return f"]({relpath(place, dirname(uri) or '.')}{hash_}{anchor})"

    return outside_code(text, lambda part: re.sub(r"\]\(([^)\s]+)\)", turned, part))


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change a text apart from its blocks of code.

    Args:
        text: Markdown.
        change: Called with each part between blocks of code.
    """
    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else change(part) for part in parts)
