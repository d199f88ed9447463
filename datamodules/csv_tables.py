"""CSV tables for people: no spreadsheet takes a cell for a formula, and reading gives the same."""

import csv
import re
from collections.abc import Iterable, Iterator
from typing import TextIO

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")


def write_rows(file: TextIO, rows: Iterable[Iterable[object]]) -> None:
    """Write rows; text that a spreadsheet would take for a formula gets an apostrophe in front.

    Args:
        file: File opened for writing with `newline=""`.
        rows: The rows, their headings among them.
    """
    csv.writer(file).writerows([_escape(cell) for cell in row] for row in rows)


def read_rows(file: Iterable[str]) -> Iterator[list[str]]:
    """Read rows as they were given to `write_rows`, without empty ones.

    Args:
        file: File opened for reading with `newline=""`, or its lines.
    """
    for row in filter(None, csv.reader(file)):
        yield [cell[1:] if _ESCAPED.match(cell) else cell for cell in row]


def _escape(cell: object) -> object:
    """Put an apostrophe in front of text that begins like a formula and is no number."""
    if not isinstance(cell, str) or not _FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
