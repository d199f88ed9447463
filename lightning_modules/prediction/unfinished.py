"""Results of a long job, kept line by line beside their table, so that a stopped one goes on.

`<table>.part` holds a line of settings, then a line of JSON for each result, and is removed when
the table is there. Of a process that was killed, half a last line is dropped.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from datamodules.atomic import owned_by_this_process
from datamodules.errors import UserError

__all__ = ["Unfinished"]


class Unfinished:
    """The results of a job so far; a context manager.

    Args:
        table: The table that will hold them.
        settings: Everything that a result depends on, in plain values.

    Attributes:
        path: The file of the results so far.

    Raises:
        UserError: If it was begun with other settings, or another process writes it.
    """

    def __init__(self, table: Path, settings: Mapping[str, Any]) -> None:
        self.path = table.with_name(f"{table.name}.part")
        self._is_empty = True
        self._settings = json.loads(json.dumps(settings))
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            if owned_by_this_process(self._file.fileno()) is False:
                raise UserError(
                    f"another process writes {table} at the moment; wait for it, or name another "
                    "file with --out"
                )
            self._begin(table)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, table: Path) -> None:
        """Check what is there, without half a last line, or write the settings."""
        lines = size = 0
        for line in self._file:
            if line.endswith(b"\n"):
                lines, size = lines + 1, size + len(line)
        self._is_empty = lines < 2
        self._file.truncate(0 if self._is_empty else size)
        self._file.seek(0)
        if self._is_empty:
            self._write({"settings": self._settings})
            return
        begun = json.loads(self._file.readline()).get("settings", {})
        different = [
            f"{name} {begun.get(name)}, now {self._settings.get(name)}"
            for name in {**begun, **self._settings}
            if begun.get(name) != self._settings.get(name)
        ]
        if different:
            raise UserError(
                f"{self.path} holds the results of a run that was stopped, with other settings "
                f"({'; '.join(different)}); give that command again to go on with it, remove the "
                f"file to begin anew, or name another table than {table} with --out"
            )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read the results so far, in order."""
        self._file.seek(0)  # by the same handle: closing another one would give the lock away
        next(self._file)
        for line in self._file:
            yield json.loads(line)

    def add(self, result: Mapping[str, Any]) -> None:
        """Keep a result, whatever happens to this process afterwards."""
        self._write(result)
        self._is_empty = False

    def _write(self, result: Mapping[str, Any]) -> None:
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(result).encode() + b"\n")
        self._file.flush()

    def finish(self) -> None:
        """Remove the file, when its table is there."""
        self._is_empty = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_empty:
            self.path.unlink(missing_ok=True)
        self._file.close()
