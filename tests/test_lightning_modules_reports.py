"""Pictures and pages: class names in any script, and the videos of a test, the worst first."""

import csv
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from lightning_modules.evaluation.stored_scores import StoredScores
from lightning_modules.reports import fonts
from lightning_modules.reports.classes import write_confusion
from lightning_modules.reports.test_page import confusion_section, write_page
from lightning_modules.reports.video_table import paths_below, worst_first, write_videos

STRANGE = "\U0001f100\U0001f101"
"""Signs that no usual font has."""


@pytest.fixture
def strange_font(tmp_path: Path) -> Any:
    """A font that has them, known to matplotlib for a while."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (500, 700), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    glyphs = {".notdef": pen.glyph(), "one": pen.glyph(), "two": pen.glyph()}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({ord(STRANGE[0]): "one", ord(STRANGE[1]): "two"})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Strange Signs", "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    path = tmp_path / "strange.ttf"
    builder.save(path)
    before = list(fontManager.ttflist)
    fontManager.addfont(path)
    yield "Strange Signs"
    fontManager.ttflist[:] = before


def test_a_font_with_the_signs_is_used_where_one_is_installed(
    strange_font: str, tmp_path: Path
) -> None:
    usual = matplotlib.rcParams["font.family"]
    with fonts.fonts_for(["plain"]):
        assert matplotlib.rcParams["font.family"] == usual
    with fonts.fonts_for(["plain", STRANGE]):
        assert matplotlib.rcParams["font.family"] == [*usual, strange_font]
    write_confusion(tmp_path / "with.png", [STRANGE, "b"], torch.eye(2), "t")
    assert matplotlib.rcParams["font.family"] == usual


def test_names_that_no_font_has_are_drawn_without_warnings(tmp_path: Path) -> None:
    for names in ([STRANGE, "b"], ["costs $5$", "a_b^c"], ["$\\frac", "b"]):
        write_confusion(tmp_path / "picture.png", names, torch.eye(2), "t")


SCORES = np.array([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9], [0.0, 0.4, 0.6], [0.1, 0.8, 0.1]])
LABELS = np.array([0, 1, 0, 1])


def stored() -> StoredScores:
    return StoredScores(
        Path("scores.npz"),
        ["a", "b", "=c", "d<i>"],
        LABELS,
        ["g1", "", "g1", ""],
        ["run", "walk & stop", "=sum"],
        {},
        SCORES,
        np.log(np.maximum(SCORES, 1e-9)),
    )


def test_videos_are_listed_the_worst_first(tmp_path: Path) -> None:
    paths = paths_below(tmp_path, ["a", "b", "=c", "d<i>"], ["x/a.mp4", "b.mp4", "c.mp4", "d.mp4"])
    videos = worst_first(stored(), paths)
    assert [video.video_id for video in videos] == ["=c", "b", "a", "d<i>"]
    expected = [-np.log(np.finfo(float).tiny), -np.log(0.05), -np.log(0.7), -np.log(0.8)]
    assert [video.loss for video in videos] == pytest.approx(expected)
    write_videos(tmp_path / "videos.csv", videos)
    with (tmp_path / "videos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "video_id": "b",
        "truth": "walk & stop",
        "loss": "2.995732",
        "probability_of_truth": "0.05",
        "answer_1": "'=sum",
        "probability_1": "0.9",
        "answer_2": "run",
        "probability_2": "0.05",
        "answer_3": "walk & stop",
        "probability_3": "0.05",
        "group": "",
        "path": str(tmp_path.absolute() / "b.mp4"),
    }


def test_page_of_a_test_shows_the_worst_videos(tmp_path: Path) -> None:
    videos = worst_first(stored(), dict.fromkeys(["a", "b", "=c", "d<i>"], "/x"))
    confusion = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]])
    frames = {"b": np.zeros((4, 8, 8, 3), np.uint8)}
    target = tmp_path / "videos_test_1x1.html"
    names = ["run", "walk & stop", "=sum"]
    classes = confusion_section(confusion, names)
    write_page(target, "protocol of <all>", "accuracy 50.00 %", classes, videos, frames)
    page = target.read_text()
    assert "accuracy 50.00 %; 4 videos" in page
    order = [page.index(f"<h3>{name}</h3>") for name in ("=c", "b", "a", "d&lt;i&gt;")]
    assert order == sorted(order)
    assert page.count("<img") == 4
    assert page.count("cannot be read any more") == 3
    assert "protocol of &lt;all&gt;" in page
    assert "walk &amp; stop" in page
    assert '<td>run</td><td class="text">=sum</td><td class="text">1</td>' in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
