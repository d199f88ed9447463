"""docs/labelling.md and docs/labelling.ipynb: their commands and cells run as they stand there."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT_ROOT
from notebook_cells import code_of, run_cells

from lightning_modules import LabelTable
from lightning_modules.cli import main

TEXT = (PROJECT_ROOT / "docs" / "labelling.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^kinetoscope (.*)$", TEXT, re.MULTILINE)
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
NOTEBOOK = PROJECT_ROOT / "docs" / "labelling.ipynb"
GOLDEN = Path(__file__).parent / "golden" / "checkpoints_of_835e51c"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page names."""
    shutil.copy(GOLDEN / "cost.ckpt", tmp_path / "best.ckpt")
    shutil.copytree(GOLDEN / "videos", tmp_path / "videos")
    shutil.copy(next((GOLDEN / "videos" / "grow").glob("*.mp4")), tmp_path / "match.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_of_the_page_do_what_it_says(folder: Path) -> None:
    assert [line.split()[0] for line in COMMANDS] == ["predict"] * 3 + ["features"] * 2
    for line in COMMANDS:
        main(line.split())
    header, *rows = (folder / "rows.csv").read_text().splitlines()
    assert header == "video,start,end,class,score,error"
    assert {row.split(",")[0] for row in rows} == {
        "match.mp4",
        *(str(path.relative_to(folder)) for path in folder.glob("videos/*/*.mp4")),
    }
    assert (folder / "events.csv").read_text().startswith("video,start,end,class,score,error\n")
    assert len((folder / "live.jsonl").read_text().splitlines()) == 8 * 5
    for video in folder.glob("videos/*/*.mp4"):
        inside = video.relative_to(folder / "videos").with_suffix(".npz")
        with np.load(folder / "features" / inside) as file:
            keys = re.findall(r"`(\w+)`", TEXT[TEXT.index("| key | |") : TEXT.index("The presets")])
            assert set(file) == set(keys)


def test_three_lines_of_the_page_give_a_table(folder: Path) -> None:
    names: dict[str, object] = {}
    exec(PYTHON[0], names)
    table = names["table"]
    assert isinstance(table, LabelTable)
    assert len(table) == 5


def test_notebook_runs_and_was_run(folder: Path) -> None:
    (folder / "runs/quickstart/0/checkpoints").mkdir(parents=True)
    shutil.copy("best.ckpt", "runs/quickstart/0/checkpoints/best.ckpt")
    (folder / "data/motion_shapes").mkdir(parents=True)
    shutil.move("videos", "data/motion_shapes/test")
    now = run_cells(code_of(NOTEBOOK))
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    stored = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    assert all(stored)  # every cell shows something
    for ours, theirs in zip(now, stored, strict=True):
        shown = [{*o["data"]} for o in ours if "data" in o]
        assert shown == [{*o["data"]} for o in theirs if "data" in o]
    assert any("image/png" in o.get("data", ()) for outputs in stored for o in outputs)
