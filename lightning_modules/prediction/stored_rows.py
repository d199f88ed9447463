"""Rows of a timeline in a file: a line for each class of each stretch of time, CSV or JSON lines.

Columns are video, start, end, class, score and error; a video that could not be read has one line
with its error. Where a video may show several classes, a column more, unlisted, holds the highest
score of the classes that are not listed: rows are good for thresholds above it.
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
_UNLISTED = "unlisted"


def write_stored_rows(
    path: Path, rows: Iterable[Row | Event | tuple[str, str]], *, with_unlisted: bool = False
) -> int:
    """Write rows or events, one after another; the file appears whole or not at all.

    Args:
        path: The file, `.csv` or `.jsonl`.
        rows: Rows, events, and pairs of a video and the reason why it has none.
        with_unlisted: True for rows of videos that may show several classes.

    Returns:
        Number of lines without the heading.
    """
    count, columns = 0, (*COLUMNS, _UNLISTED) if with_unlisted else COLUMNS
    with writing_text(path, lone=True, newline="") as file:
        if path.suffix == ".csv":
            write_rows(file, [columns])
        for row in rows:
            count += 1
            values = _values(row)
            if path.suffix == ".csv":
                write_rows(file, [[values.get(name, "") for name in columns]])
            else:
                file.write(json.dumps(values, ensure_ascii=False) + "\n")
    return count


def _values(row: Row | Event | tuple[str, str]) -> dict[str, Any]:
    if not isinstance(row, Row | Event):
        return {"video": row[0], "error": row[1]}
    times = {"start": round(row.start, 3), "end": round(row.end, 3)}
    values = {"video": row.video, **times, "class": row.label, "score": round(row.probability, 6)}
    if isinstance(row, Row) and row.unlisted is not None:
        values[_UNLISTED] = round(row.unlisted, 6)
    return values


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
                    unlisted = values.get(_UNLISTED)
                    rest = None if unlisted is None else float(unlisted)
                    label, score = values["class"], float(values["score"])
                    yield Row(values["video"], *times, label, score, rest)
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
    columns = tuple(next(rows, ()))
    if columns not in (COLUMNS, (*COLUMNS, _UNLISTED)):
        raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
    yield from (dict(zip(columns, row, strict=True)) for row in rows)
