"""Lines and CSV rows of annotation files, with an error for every file that holds none."""

import csv
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from itertools import chain
from operator import itemgetter
from typing import TextIO

from datamodules.errors import UserError
from datamodules.storage.source import Place, as_source

MAX_LINE = 2**16
"""Characters of the longest line that is read: no annotation has one a tenth as long."""


def read_lines(path: Place) -> list[str]:
    """Read the lines of a text file that are not blank, stripped.

    Args:
        path: A UTF-8 file, with or without a byte order mark, and line ends of any system.

    Raises:
        UserError: If there is no such file, it is not UTF-8, or a line is too long.
    """
    return [line for raw in _lines(path) if (line := raw.strip())]


def read_csv(path: Place) -> Iterator[list[str]]:
    """Read the rows of a comma-separated file that are not blank.

    Args:
        path: A UTF-8 file; fields may be quoted.

    Raises:
        UserError: If there is no such file, it is not UTF-8, or no CSV.
    """
    rows = csv.reader(_lines(path), strict=True)
    try:
        yield from filter(None, rows)
    except csv.Error as error:
        raise UserError(
            f"line {rows.line_num} of {path} is no CSV ({error}); correct or remove the line"
        ) from error


def read_columns(path: Place, names: Sequence[str], headerless: Sequence[str]) -> list[list[str]]:
    """Read columns of a CSV file, found by the names in its header line.

    Args:
        path: The CSV file.
        names: Columns to read, at least two.
        headerless: Columns of a file whose first line names none of `names`.

    Returns:
        The columns, in the order of `names`.

    Raises:
        UserError: If a column or a field is missing.
    """
    rows = read_csv(path)
    first = next(rows, [])
    header = [name.strip().lower() for name in first]
    if first and not set(header) & set(names):
        header, rows = list(headerless), chain([first], rows)
    missing = [name for name in names if name not in header]
    if missing:
        raise UserError(
            f"{path} has no column {missing[0]!r}, its first line is {','.join(first)[:100]!r}; "
            f"give a file whose header names {', '.join(names)}"
        )
    fields: list[str] = []
    try:
        fields.extend(chain.from_iterable(map(itemgetter(*map(header.index, names)), rows)))
    except IndexError as error:
        raise UserError(
            f"row {len(fields) // len(names) + 1} of {path} has fewer fields than its columns "
            f"{', '.join(names)} need; correct or remove the line"
        ) from error
    return [fields[start :: len(names)] for start in range(len(names))]


def _lines(path: Place) -> Iterator[str]:
    """Read a text file piece by piece, and yield its lines without their ends."""
    source = as_source(path)
    if not source.is_file():
        raise UserError(f"there is no list file at {path}; check the argument that names it")
    rest = ""
    with source.open() as binary, TextIOWrapper(binary, encoding="utf-8-sig") as file:
        while piece := _read_piece(path, file):
            *whole, rest = (rest + piece).split("\n")
            if max(map(len, (*whole, rest))) > MAX_LINE:
                raise UserError(
                    f"{path} has a line of more than {MAX_LINE} characters, so it is no annotation "
                    "file; check the argument that names it"
                )
            yield from whole
    yield rest


def _read_piece(path: Place, file: TextIO) -> str:
    try:
        piece = file.read(MAX_LINE)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    if "\0" in piece:
        raise UserError(f"{path} is not UTF-8 text (it holds zero bytes); save it as UTF-8")
    return piece
