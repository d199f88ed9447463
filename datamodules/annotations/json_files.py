"""JSON annotation files, read entry by entry, so that an invalid file takes no memory."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import ijson

from datamodules.errors import UserError
from datamodules.storage.source import Place, as_source

MAX_ENTRY = 2**20
"""Bytes of the longest entry that is read: no annotation has one a tenth as long."""
MAX_DEPTH = 16
"""Deepest nesting of an entry; FineGym's are seven deep."""
PIECE = 2**16
"""Bytes that are read at a time."""


def read_json_entries(path: Place) -> Iterator[tuple[str | None, Any]]:
    """Read the entries of a JSON object with their keys, or those of a list with None.

    Args:
        path: A UTF-8 file, with or without a byte order mark.

    Raises:
        UserError: If there is no such file, or it is no JSON object or list.
    """
    source = as_source(path)
    if not source.is_file():
        raise UserError(f"there is no list file at {path}; check the argument that names it")
    with source.open() as file:
        try:
            yield from _entries(_Bounded(file))
        except (ijson.JSONError, UnicodeDecodeError, OverflowError, _InvalidAnnotation) as error:
            told = error.args[0]
            reason = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(error)
            raise UserError(
                f"{path} is not the JSON of an official list, in UTF-8 ({reason.splitlines()[0]}); "
                "check the argument that names it, or download it again"
            ) from error


def read_json_records(path: Place, names: Sequence[str]) -> list[list[str]]:
    """Read fields of the objects in a JSON list as columns.

    Args:
        path: A UTF-8 file.
        names: Fields to read.

    Returns:
        The columns, in the order of `names`; numbers as they are written.

    Raises:
        UserError: If a field is missing, see also `read_json_entries`.
    """
    columns: list[list[str]] = [[] for _ in names]
    for number, (_, entry) in enumerate(read_json_entries(path), 1):
        values = [entry.get(name) for name in names] if isinstance(entry, dict) else [None]
        if not all(isinstance(value, str | int) for value in values):
            raise UserError(
                f"entry {number} of {path} must be an object with {', '.join(names)}, but is "
                f"{str(entry)[:100]}; correct it, or give the official list"
            )
        for column, value in zip(columns, values, strict=True):
            column.append(str(value))
    return columns


class _InvalidAnnotation(Exception):  # noqa: N818 - it is told as a UserError
    """A file that is no annotation, though it may be JSON."""


class _Bounded:
    """A file whose reading stops where an entry is longer than `MAX_ENTRY`.

    Args:
        file: The open file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.since_entry = 0
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)

    def read(self, size: int) -> bytes:
        """Read the next bytes, at most `size`."""
        if self.since_entry > MAX_ENTRY:
            raise _InvalidAnnotation(f"it has an entry of more than {MAX_ENTRY} bytes")
        piece = self._file.read(size)
        self.since_entry += len(piece)
        return piece


def _entries(file: _Bounded) -> Iterator[tuple[str | None, Any]]:
    """Parse the entries of the outermost object or list."""
    depth, key, entry = 0, None, ijson.ObjectBuilder()
    for event, value in ijson.basic_parse(file, buf_size=PIECE, use_float=True):
        depth -= event in {"end_map", "end_array"}
        if depth == 1 and event == "map_key":
            key = value
        elif depth > 0:
            entry.event(event, value)
        elif event not in {"start_map", "start_array", "end_map", "end_array"}:
            raise _InvalidAnnotation("it is neither a list nor an object")
        if depth == 1 and event != "map_key" and not event.startswith("start"):
            yield key, entry.value
            entry, file.since_entry = ijson.ObjectBuilder(), 0
        depth += event in {"start_map", "start_array"}
        if depth > MAX_DEPTH:
            raise _InvalidAnnotation(f"it is nested more than {MAX_DEPTH} deep")
