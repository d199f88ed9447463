"""docs/your_videos.md, command by command, on a small folder of the form that it asks for."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT_ROOT
from doc_pages import commands_of

from lightning_modules.cli import main

TEXT = (PROJECT_ROOT / "docs" / "your_videos.md").read_text(encoding="utf-8")
*COMMANDS, _WITH_A_GPU = commands_of("your_videos.md")  # the last wants ImageNet's weights
OPTIONS = re.findall(r"^\| `(--[^`]+)` \|", TEXT, re.MULTILINE)
SHORT = ["--trainer.max_steps=2", "--trainer.val_check_interval=1", "--trainer.logger=false"]
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
HERE = ["--data.loading.num_workers=0"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, motion_root: Path, run_folder: Path) -> Path:
    """A folder with `my_videos` and the quickstart's run, as the page takes them for granted."""
    folder = tmp_path_factory.mktemp("desk")
    for split, part in (("train", slice(5)), ("test", slice(5, 8))):
        for name in ("grow", "move_up"):
            target = folder / "my_videos" / split / name
            target.mkdir(parents=True)
            videos = sorted((motion_root / "train" / name).glob("*.mp4"))
            for number, video in [*enumerate(videos, 1)][part]:
                shutil.copy(video, target / f"scene{number:02d}_{name}.mp4")
    shutil.copytree(run_folder, folder / "runs" / "quickstart" / "0")
    return folder


def test_page_is_done_from_its_first_command_to_its_last(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk)
    said = {}
    for command in COMMANDS:
        tool = command[0]
        more = {"fit": [*SHORT, *QUIET, *HERE], "test": QUIET, "doctor": ["--measure", "0"]}
        main([*command, *more.get(tool, [])])
        said[tool, len(said)] = capsys.readouterr().out
    assert [tool for tool, _ in said] == [
        *("doctor", "fit", "test", "predict", "fit", "test", "fit", "test", "compare")
    ]
    assert "2 steps in all" in said["fit", 1]
    assert "scene" in said["doctor", 0]
    for version in ("first/0", "second/0", "first/1"):
        with np.load(desk / "runs" / version / "scores_test_5x1.npz") as scores:
            assert set(scores["groups"].tolist()) == {f"scene{n:02d}" for n in (6, 7, 8)}
            assert scores["logits"].shape == (6, 5, 2)
        for name in ("videos_test_5x1.html", "videos_test_5x1.csv"):
            assert (desk / "runs" / version / name).is_file()
    rows = (desk / "labels.csv").read_text().splitlines()
    assert len(rows) == 7
    assert (desk / "runs" / "compare" / "compare.html").is_file()


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_of_the_table_is_one(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    monkeypatch.chdir(desk)
    with pytest.raises(SystemExit) as ended:
        main([*COMMANDS[1], *shlex.split(option), "--print_config"])
    assert not ended.value.code
    value = shlex.split(option)[1]
    assert value in capsys.readouterr().out


def test_the_page_has_a_table_of_options() -> None:
    assert len(OPTIONS) == 9
