"""A list of the videos that cannot be read, kept beside a run, so that none is tried in vain twice.

It changes no clip: only a verdict that every further attempt would end with keeps a video from
being tried. So a run whose list is there, half there or deleted goes on in exactly the same way.
"""

import contextlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from datamodules.atomic import append_line
from datamodules.storage.source import Place, as_source
from datamodules.video.errors import Reason, VideoError
from datamodules.video.indices.cache import DECODER

FILE_NAME = "quarantine.jsonl"
"""Name of the list in a run folder."""

PASSING: frozenset[Reason] = frozenset({"missing", "unreadable"})
"""Reasons that may be gone a moment later."""


@dataclass(frozen=True)
class Record:
    """One line of the list.

    Attributes:
        video_id: Name of the video; several may be segments of one file.
        path: Its file or frame folder.
        reason: The reason why it cannot be read.
        detail: The exact finding.
        size: Of the file then, in bytes.
        mtime_ns: Time of the file's last change, in nanoseconds.
        decoder: The decoder that tried to read it.
        final: True if every attempt ends like this, so that no other is made. False for a video
            that opens and is damaged somewhere within: other clips of it are good, and which of
            them were tried already must not decide about the next.
    """

    video_id: str
    path: str
    reason: Reason
    detail: str
    size: int
    mtime_ns: int
    decoder: str
    final: bool

    @property
    def verdict(self) -> tuple[Any, ...]:
        """Everything but the words, which differ from clip to clip."""
        return self.reason, self.size, self.mtime_ns, self.decoder, self.final


@dataclass
class Attempt:
    """An attempt to read a video.

    Attributes:
        is_open: True if the video could be opened, so that what fails afterwards is this clip.
    """

    is_open: bool = False


class Quarantine:
    """The videos that could not be read, in a file of JSON lines that many processes append to.

    A video in it is not tried again until the size or the time of change of its file differs, or
    the decoder is another. Processes read what the others add; lines that are not whole are passed
    over.

    Args:
        path: The list; made when the first video comes in. None to remember within this process.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._records: dict[str, Record] = {}
        self._read = 0  # bytes of the list that are in `_records`

    @contextlib.contextmanager
    def watch(self, video_id: str, path: Place) -> Iterator[Attempt]:
        """Read a video within: raise at once an error that must come, remember one that is raised.

        Args:
            video_id: Name of the video.
            path: Its file or frame folder.

        Yields:
            The attempt, to be told when the video is open.

        Raises:
            VideoError: The video cannot be read.
        """
        stamp = _stamp(path)
        self._catch_up()
        known = self._records.get(video_id)
        if known is not None and known.final and stamp == (known.size, known.mtime_ns):
            raise VideoError(path, known.reason, known.detail)
        attempt = Attempt()
        try:
            yield attempt
        except VideoError as error:
            if stamp is not None:
                final = not attempt.is_open and not _may_pass(error)
                told = (video_id, str(path), error.reason, error.detail)
                self._add(Record(*told, *stamp, decoder=DECODER, final=final))
            raise

    def _add(self, record: Record) -> None:
        known = self._records.get(record.video_id)
        if known is not None and known.verdict == record.verdict:
            return
        self._records[record.video_id] = record
        if self.path is not None:
            try:
                append_line(self.path, json.dumps(asdict(record)).encode())
            except OSError as error:
                warnings.warn(
                    f"{self.path} cannot be written ({error.strerror}), so other processes will "
                    f"try {record.video_id} again",
                    stacklevel=1,
                )

    def _catch_up(self) -> None:
        """Read the lines that were added since the last time."""
        if self.path is None:
            return
        try:
            size = self.path.stat().st_size
            if size < self._read:  # it was deleted, and begun anew
                self._read = 0
            if size == self._read:
                return
            with self.path.open("rb") as file:
                file.seek(self._read)
                added = file.read(size - self._read)
        except OSError:  # no list yet, or none that can be read: then each video is tried
            return
        lines, newline, _ = added.rpartition(b"\n")
        self._read += len(lines + newline)
        for record in filter(None, map(_parsed, lines.split(b"\n"))):
            self._records[record.video_id] = record


def _stamp(place: Place) -> tuple[int, int] | None:
    """Get the stamp of a file or folder, see `Source.stamp`; None where it is unknown."""
    try:
        return as_source(place).stamp()
    except OSError:
        return None


def _may_pass(error: VideoError) -> bool:
    """Check that the fault may be the disk's, not the file's."""
    return error.reason in PASSING or isinstance(error.__cause__, OSError)


def _parsed(line: bytes) -> Record | None:
    """Parse the record of a line; None for one that is not whole, or tells of another decoder."""
    try:
        values: dict[str, Any] = json.loads(line)
        record = Record(**{field.name: values[field.name] for field in fields(Record)})
    except (ValueError, TypeError, KeyError):
        return None
    is_usable = record.reason in get_args(Reason) and record.decoder == DECODER
    return record if is_usable else None
