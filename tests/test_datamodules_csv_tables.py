"""Tables that people open: no cell is a formula, and reading gives what was written."""

import csv
from io import StringIO
from pathlib import Path

from datamodules.csv_tables import read_rows, write_rows
from lightning_modules.prediction.videos import Prediction, write_predictions

CELLS = [
    *("=HYPERLINK(1)", "+cmd", "-0A_E_xXysH", "@x", "\tx", "\rx", "'=x", "''-y", "'quoted'"),
    *("plain", "a=b", "", "'", "-"),
]
NUMBERS = ["-1.5", "+2", "-inf", "0.3"]


def test_no_cell_begins_like_a_formula_and_reading_gives_the_same() -> None:
    file = StringIO(newline="")
    write_rows(file, [CELLS, NUMBERS])
    escaped, numbers = csv.reader(StringIO(file.getvalue(), newline=""))
    assert not [cell for cell in escaped if cell[:1] in set("=+-@\t\r")]
    assert numbers == NUMBERS
    assert list(read_rows(StringIO(file.getvalue(), newline=""))) == [CELLS, NUMBERS]


def test_names_of_videos_and_classes_are_escaped_in_predictions(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write_predictions(path, [Prediction("=cmd|' /C calc'!A0.mp4", ["@sum", "b"], [0.75, 0.25])])
    with path.open(newline="") as file:
        (_, row) = csv.reader(file)
    assert row == ["'=cmd|' /C calc'!A0.mp4", "'@sum", "0.750000", "b", "0.250000", ""]
    with path.open(newline="") as file:
        (_, same) = read_rows(file)
    assert same[:2] == ["=cmd|' /C calc'!A0.mp4", "@sum"]
