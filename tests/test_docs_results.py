"""The pages of results: every table is drawn from the committed JSON."""

import json
import re
from types import ModuleType

import pytest
from conftest import PROJECT_ROOT

from lightning_modules.evaluation.intervals import Estimate

PAGE, README = (
    (PROJECT_ROOT / name).read_text(encoding="utf-8") for name in ("docs/results.md", "README.md")
)
FILES = {path.stem: path for path in (PROJECT_ROOT / "docs" / "results").glob("*.json")}


@pytest.fixture
def results_page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(PROJECT_ROOT / "benchmarks"))
    import results_page as script

    return script


def test_every_table_equals_its_json(results_page: ModuleType) -> None:
    for page in (PAGE, README):
        assert results_page.TABLE.search(page)
        assert results_page.draw(page) == page, "run benchmarks/results_page.py"


def test_a_changed_figure_is_noticed(results_page: ModuleType) -> None:
    file = json.loads(FILES["motion_shapes"].read_text())
    figure = f"{100 * file['looks']['noise']['rows'][0]['mean']['value']:.2f}"
    changed = PAGE.replace(figure, "12.34")
    assert changed != PAGE
    assert results_page.draw(changed) == PAGE


def test_every_file_is_on_the_page() -> None:
    named = {found.split()[0] for found in re.findall(r"<!-- (.*?) -->", PAGE)} - {"end"}
    assert named == set(FILES)


def test_nothing_stands_on_fewer_than_three_runs() -> None:
    for look in json.loads(FILES["motion_shapes"].read_text())["looks"].values():
        assert min(len(row["top1"]) for row in look["rows"]) >= 3
        assert min(min(claim["runs"]) for claim in look["claims"]) >= 3


@pytest.mark.parametrize(
    ("gain", "p", "said"),
    [
        ((0.1, 0.02, 0.2), 0.01, "holds"),
        ((0.1, 0.02, 0.2), 0.06, "cannot be told"),
        ((0.1, -0.02, 0.2), 0.01, "cannot be told"),
        ((-0.1, -0.2, -0.02), 0.01, "does not hold: the reverse"),
    ],
)
def test_a_claim_is_decided_by_interval_and_p(
    results_page: ModuleType, gain: tuple[float, float, float], p: float, said: str
) -> None:
    assert results_page.verdict(Estimate(*gain, runs=True), p) == said
