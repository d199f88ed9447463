"""A file of decode results, so that a long examination goes on where it stopped."""

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from datamodules.atomic import append_line
from datamodules.health.decode_check import PASSING, VERDICTS, DecodeResult, Part
from datamodules.storage.source import as_source
from datamodules.video.indices.cache import DECODER


class DecodeLog:
    """Decode results in a file of JSON lines, which several processes may append to.

    Args:
        path: The file; made when the first result comes in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def still_true(
        self,
        parts: Iterable[Part],
        limit: float,
        with_fingerprints: bool = False,
        with_passing: bool = False,
    ) -> dict[Part, DecodeResult]:
        """Select the results of videos that have not changed since.

        Args:
            parts: The videos.
            limit: Seconds that one video may take now; one that took too long is known only if it
                had as many.
            with_fingerprints: If True, a good video is known only with its fingerprint.
            with_passing: If True, verdicts count that may be gone a moment later.
        """
        known = {result.part: result for result in self._read()}
        found = ((part, known[part]) for part in parts if part in known)
        return {
            part: result
            for part, result in found
            if _is_still_true(result, limit, with_passing)
            and (result.fingerprint or result.verdict or not with_fingerprints)
        }

    def add(self, result: DecodeResult) -> None:
        """Append a line that is whole or not there, also among many processes and machines."""
        append_line(self.path, json.dumps(asdict(result)).encode())

    def _read(self) -> list[DecodeResult]:
        """Read all whole lines; a later one of the same video comes later."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            return [result for result in map(_parsed, file) if result is not None]


def _parsed(line: bytes) -> DecodeResult | None:
    """Parse the result of a line; None for a line that is not whole, or of another version."""
    try:
        values: dict[str, Any] = json.loads(line)
        result = DecodeResult(**{field.name: values[field.name] for field in fields(DecodeResult)})
    except (ValueError, TypeError, KeyError):
        return None
    return result if result.verdict is None or result.verdict in VERDICTS else None


def _is_still_true(result: DecodeResult, limit: float, with_passing: bool) -> bool:
    if result.decoder != DECODER:
        return False
    if result.verdict in PASSING:
        return with_passing
    if result.verdict == "time limit" and limit > result.decode_seconds:
        return False
    try:
        return as_source(result.path).stamp() == (result.size, result.mtime_ns)
    except OSError:
        return False
