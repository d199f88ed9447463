"""The exception for videos that cannot be read, its named reasons, and the size limit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from datamodules.storage.source import Place

MAX_PIXELS = 8192 * 4320
"""Largest frame that is decoded (8K cinema): a file of 200 kB can ask for gigabytes."""

Reason = Literal[
    "missing",  # nothing at this path
    "not a file",  # a folder, device or pipe where a video file was expected
    "unreadable",  # the operating system refuses
    "empty file",
    "not a video",  # no known container: a web page, a playlist, an archive
    "no video stream",  # audio only, or cover art only
    "no decoder",  # a codec this build of FFmpeg cannot decode
    "no frames",  # a video stream in which nothing decodes
    "too large",  # more pixels per frame than is reasonable
    "truncated",  # the file ends before the frames it promises
    "incomplete",  # frames are missing within, or far more are declared than there are
    "damaged",  # decoding the whole file raises an error
    "changing size",  # frames of one video differ in height or width
    "missing frame",  # a frame folder whose numbering has a gap
    "empty segment",  # no frame is shown between the listed start and end
    "no times",  # a segment of a frame folder, whose images do not tell when they are shown
]


class VideoError(Exception):
    """A video that cannot be read.

    Args:
        path: The file or folder.
        reason: The kind of fault, one of `Reason`, by which reports count.
        detail: The exact finding, for a person.
    """

    def __init__(self, path: Place, reason: Reason, detail: str) -> None:
        assert reason in get_args(Reason), reason
        super().__init__(f"{path}: {reason}: {detail}")
        self.path = str(path)
        self.reason: Reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["VideoError"], tuple[str, Reason, str]]:
        return type(self), (self.path, self.reason, self.detail)


class BrokenPromiseError(Exception):
    """A file or a result of the decoder that contradicts the index."""


@contextmanager
def as_unreadable(path: Place) -> Iterator[None]:
    """Turn the `OSError` of a disk, mount or server into a `VideoError`.

    Args:
        path: The file or folder that is read.
    """
    try:
        yield
    except FileNotFoundError as error:  # a moment ago it was there
        raise VideoError(path, "missing", str(error)) from error
    except OSError as error:
        raise VideoError(path, "unreadable", str(error)) from error
