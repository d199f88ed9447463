"""Links between README, guides and configs: each leads somewhere, and every page is reached."""

import re
from pathlib import Path

import pytest
from conftest import PROJECT_ROOT

from models import list_models

GUIDES = sorted((PROJECT_ROOT / "docs").glob("*.md"))
PAGES = [
    PROJECT_ROOT / "README.md",
    *GUIDES,
    *sorted((PROJECT_ROOT / "docs" / "families").glob("*.md")),
    PROJECT_ROOT / "CONTRIBUTING.md",
    PROJECT_ROOT / "configs" / "README.md",
    PROJECT_ROOT / "configs" / "slurm" / "README.md",
]


def links(page: Path) -> list[str]:
    """Targets of the Markdown links of a page, apart from its code."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def named_pages(page: Path) -> set[Path]:
    """Files of the project that a page links to."""
    local = [link.split("#")[0] for link in links(page) if "://" not in link]
    return {(page.parent / link).resolve() for link in local if link}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    found = links(page)
    assert found
    for link in found:
        if "://" in link:
            assert link.startswith("https://arxiv.org/abs/"), "no other host is named"
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_readme_names_every_guide_and_every_guide_the_readme() -> None:
    readme = PROJECT_ROOT / "README.md"
    assert set(GUIDES) <= named_pages(readme)
    for page in GUIDES:
        assert readme in named_pages(page), page


def test_every_family_has_its_paper() -> None:
    named = (PROJECT_ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    prefixes = {re.split(r"_(?:r\d+|irv2|tiny|3x3x3)", name)[0] for name in list_models()}
    assert prefixes
    for prefix in prefixes:
        assert f"`{prefix}_*`" in named, prefix
