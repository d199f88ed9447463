"""The site: pages made from the code, the families' pages, troubleshooting, and the build."""

import ast
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from conftest import PROJECT_ROOT
from pages import families
from pages.arguments import default_in_words
from pages.cells import cell
from pages.classes import public_classes, public_functions
from pages.links import ELSEWHERE, with_site_links
from pages.made import made_pages

from datamodules import VideoDataModule
from lightning_modules.base import VideoClassifier
from lightning_modules.cli import COMMANDS, main
from lightning_modules.guidance.config_list import read_note
from lightning_modules.guidance.first_screen import TOPICS
from lightning_modules.parsing.config_names import config_names
from lightning_modules.parsing.parser import VideoParser
from models import list_models
from models.documented import DOCUMENTED_SIZES

DOCS = PROJECT_ROOT / "docs"
GUIDES = [*DOCS.glob("*.md"), *DOCS.glob("families/*.md"), *(PROJECT_ROOT / p for p in ELSEWHERE)]


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """Every page that is made, by its place."""
    return made_pages()


def printed_help(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `kinetoscope COMMAND --help` prints."""
    with suppress(SystemExit):
        main([command, "--help"])
    return capsys.readouterr().out


def test_every_command_has_its_page_with_every_option(
    made: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in COMMANDS:
        page = made[f"reference/commands/{command}.md"]
        printed = printed_help(command, capsys)
        options = set(re.findall(r"^ +(?:-\w, )?(--[a-z][\w.]*)", printed, re.MULTILINE))
        shown = set(re.findall(r"--[a-z][\w.]*", page))
        assert options - {"--help"} <= shown, command
        assert f"[`{command}`]({command}.md)" in made["reference/commands/index.md"]


def test_every_topic_of_keys_has_its_page(made: dict[str, str]) -> None:
    for topic in TOPICS:
        assert made[f"reference/keys/{topic}.md"].count("\n| `") > 5
    assert "| `data.crops.size` |" in made["reference/keys/data.md"]


def test_every_config_has_its_page(made: dict[str, str]) -> None:
    files = [*(PROJECT_ROOT / "configs").rglob("*.yaml")]
    assert len(files) == len(config_names()) > 40
    for path in files:
        name = path.relative_to(PROJECT_ROOT / "configs").with_suffix("").as_posix()
        page = made[f"reference/configs/{name}.md"]
        assert path.read_text(encoding="utf-8").strip() in page
        assert cell(read_note(name).purpose) in page
        assert f"({name}.md)" in made["reference/configs/index.md"]


def shown_arguments(page: str) -> dict[str, tuple[str, str]]:
    """Arguments that the page of a class shows: name to default and meaning."""
    part = page.partition("## Arguments\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([*\w]+)` \| (?:.*?) \| (?:`(.*?)`)? \| (.*) \|$", part, re.MULTILINE)
    return {name: (default, meaning) for name, default, meaning in rows}


def parameters_of(kind: type) -> list[inspect.Parameter]:
    """Parameters of a class; none of one that takes what any error or dictionary takes."""
    try:
        return list(inspect.signature(kind).parameters.values())
    except ValueError:  # no signature found for a builtin type
        return []


def test_every_public_class_has_its_page_with_its_arguments(made: dict[str, str]) -> None:
    assert len(public_classes()) > 60
    for name, (_, kind) in public_classes().items():
        shown = shown_arguments(made[f"reference/classes/{name}.md"])
        signature = parameters_of(kind)
        for parameter in signature:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            assert parameter.name in shown, (name, parameter.name)
            default, _ = shown[parameter.name]
            if parameter.default is parameter.empty:
                assert default == "required", (name, parameter.name)
            else:
                assert default == default_in_words(parameter.default), (name, parameter.name)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature):
            assert set(shown) == {p.name for p in signature if not str(p).startswith("*")}, name


def test_arguments_of_datasets_and_families_are_those_of_the_command_line(
    made: dict[str, str],
) -> None:
    for name, (_, kind) in public_classes().items():
        if not issubclass(kind, VideoDataModule | VideoClassifier):
            continue
        parser = VideoParser()
        parser.add_class_arguments(kind, "it", fail_untyped=False)
        options = [option for action in parser._actions for option in action.option_strings]
        inside = [option.split(".")[1] for option in options if option.startswith("--it.")]
        shown = shown_arguments(made[f"reference/classes/{name}.md"])
        assert set(shown) == {option.removesuffix("+") for option in inside} - {"help"}, name
        for argument, (_, meaning) in shown.items():
            assert meaning, f"{name} does not say what {argument} is"


def test_every_public_function_has_its_place(made: dict[str, str]) -> None:
    page = made["reference/functions.md"]
    assert len(public_functions()) > 8
    for name, function in public_functions().items():
        package, _, short = name.rpartition(".")
        section = page.partition(f"from {package} import {short}\n")[2].partition("\n## ")[0]
        for argument in inspect.signature(function).parameters:
            assert f"`{argument}`" in section or f"*{argument}`" in section, (name, argument)


def test_made_pages_hold_nothing_of_the_machine(made: dict[str, str]) -> None:
    for uri, page in made.items():
        assert " at 0x" not in page, uri
        assert str(PROJECT_ROOT) not in page, uri
        assert str(Path.home()) not in page, uri


def test_every_network_is_of_one_family_page() -> None:
    owners: dict[str, list[str]] = {}
    for path in families.family_files():
        for prefix in families.prefixes_of(path.read_text(encoding="utf-8")):
            owners.setdefault(prefix, []).append(path.name)
    assert set(owners) == {families.prefix_of(name) for name in list_models()}
    assert all(len(pages) == 1 for pages in owners.values()), owners


@pytest.mark.parametrize("path", families.family_files(), ids=lambda path: path.stem)
def test_family_page_has_paper_equations_sizes_recipes_and_proofs(
    path: Path, made: dict[str, str]
) -> None:
    words = path.read_text(encoding="utf-8")
    page = families.with_facts(with_site_links(words, f"families/{path.name}"))
    assert page.count("\n$$\n") >= 2
    assert "https://arxiv.org/abs/" in page
    prefixes = families.prefixes_of(words)
    for size in DOCUMENTED_SIZES:
        if families.prefix_of(size.network) in prefixes:
            assert f"| {size.parameters:,} |" in page
    named = re.findall(r"\(\.\./(reference/[^)]*)\)", page)
    assert set(named) <= set(made)
    assert any("reference/classes/" in link for link in named)
    assert any("reference/configs/" in link for link in named)
    proofs = re.findall(r"`tests/(\w+\.py)::(\w+)`", words)
    assert proofs
    for file, test in proofs:
        text = (PROJECT_ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {test}(" in text, f"{file}::{test}"


def strings_of_code() -> Iterator[str]:
    """Every string in the packages, with … in the place of each value."""
    for package in ("models", "datamodules", "lightning_modules"):
        for path in (PROJECT_ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                    yield re.sub("…+", "…", "".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_every_sentence_of_troubleshooting_is_the_codes() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^> (.*)$", text, re.MULTILINE)
    assert len(quoted) > 40
    said = list(strings_of_code())
    for sentence in quoted:
        assert len(sentence.replace("…", "")) > 12, sentence
        assert any(sentence in string for string in said), sentence


MARKDOWN = ["sane_lists", "tables", "pymdownx.superfences"]
"""Extensions of mkdocs.yml that decide what a list, a table and a block of code is."""


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_site_shows_the_lists_and_tables_that_a_code_host_does(path: Path) -> None:
    markdown = pytest.importorskip("markdown", reason="the group `docs` is not installed")
    pytest.importorskip("pymdownx", reason="the group `docs` is not installed")
    text = path.read_text(encoding="utf-8")
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    html = markdown.markdown(text, extensions=MARKDOWN)
    assert html.count("<li>") == len(re.findall(r"^(?:[-*]|\d+\.) ", plain, re.MULTILINE))
    assert html.count("<table>") == len(re.findall(r"^\|(?:-+\|)+$", plain, re.MULTILINE))


def test_site_builds_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the group `docs` is not installed")
    config = import_module("mkdocs.config").load_config(
        str(PROJECT_ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site")
    )
    import_module("mkdocs.commands.build").build(config)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 150
    for page in pages:
        text = page.read_text(encoding="utf-8")
        hosts = re.findall(r'(?:src|href)="(?:https?:)?//([^/"]*)', text)
        assert set(hosts) <= {"arxiv.org"}, page
        assert 'class="mermaid"' not in text, "its script would be fetched"
    assert (tmp_path / "site" / "families" / "cost.html").read_text().count("<math") >= 4
