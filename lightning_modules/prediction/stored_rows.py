"""Rows of a timeline in a file: a line for each class of each stretch of time, CSV or JSON lines.

Columns are video, start, end, class, score and error; a video that could not be read has one line
with its error.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datamodules.atomic import writing_text
from datamodules.csv_tables import read_rows, write_rows
from datamodules.errors import UserError
from lightning_modules.prediction.events import Event
from lightning_modules.prediction.table import Row

__all__ = ["COLUMNS", "SUFFIXES", "read_stored_rows", "write_stored_rows"]

SUFFIXES = (".csv", ".jsonl")
COLUMNS = ("video", "start", "end", "class", "score", "error")


def write_stored_rows(path: Path, rows: Iterable[Row | Event | tuple[str, str]]) -> int:
    """Write rows or events, one after another; the file appears whole or not at all.

    Args:
        path: The file, `.csv` or `.jsonl`.
        rows: Rows, events, and pairs of a video and the reason why it has none.

    Returns:
        Number of lines without the heading.
    """
    count = 0
    with writing_text(path, lone=True, newline="") as file:
        if path.suffix == ".csv":
            write_rows(file, [COLUMNS])
        for row in rows:
            count += 1
            values = _values(row)
            if path.suffix == ".csv":
                write_rows(file, [[values.get(name, "") for name in COLUMNS]])
            else:
                file.write(json.dumps(values, ensure_ascii=False) + "\n")
    return count


def _values(row: Row | Event | tuple[str, str]) -> dict[str, Any]:
    if not isinstance(row, Row | Event):
        return {"video": row[0], "error": row[1]}
    times = {"start": round(row.start, 3), "end": round(row.end, 3)}
    return {"video": row.video, **times, "class": row.label, "score": round(row.probability, 6)}


def read_stored_rows(path: Path) -> Iterator[Row | tuple[str, str]]:
    """Read what `write_stored_rows` wrote, line by line.

    Args:
        path: The file, `.csv` or `.jsonl`.

    Raises:
        UserError: If it is no such file.
    """
    if path.suffix not in SUFFIXES or not path.is_file():
        raise UserError(f"{path} is no table of rows; give a .csv or .jsonl that predict wrote")
    number = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for values in _read_values(path, file):
                number += 1
                if values.get("error"):
                    yield values["video"], values["error"]
                else:
                    times = float(values["start"]), float(values["end"])
                    yield Row(values["video"], *times, values["class"], float(values["score"]))
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(
            f"line {number + 1} of {path} is no row of a timeline ({error!r}); give a table that "
            "`predict --window` wrote"
        ) from error


def _read_values(path: Path, file: Iterable[str]) -> Iterator[dict[str, Any]]:
    if path.suffix == ".jsonl":
        yield from (json.loads(line) for line in file if line.strip())
        return
    rows = read_rows(file)
    if tuple(next(rows, ())) != COLUMNS:
        raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
    yield from (dict(zip(COLUMNS, row, strict=True)) for row in rows)
