"""Patience with the disk or mount that videos lie on, whose faults are not blamed on files."""

import errno
from collections.abc import Callable
from typing import TypeVar

from datamodules.storage.source import Source
from datamodules.storage.transient import retry, tell
from datamodules.video.errors import Reason, VideoError, as_unreadable

Result = TypeVar("Result")

_DOUBTFUL: frozenset[Reason] = frozenset(
    {"not a video", "no video stream", "no frames", "truncated", "incomplete", "damaged"}
)
"""Verdicts that a fault of the disk may look like, which FFmpeg often takes for the file's end."""

_BLOCK = 2**20


def patiently(attempt: Callable[[], Result], source: Source) -> Result:
    """Read something of a video, and again after growing waits where its disk or mount fails.

    A file that seems damaged is read from start to end and tried once more, before it is blamed.

    Args:
        attempt: What may fail; it can be called again.
        source: The video.

    Raises:
        VideoError: It cannot be read.
    """

    def careful() -> Result:
        try:
            return attempt()
        except VideoError as error:
            if isinstance(error.__cause__, OSError) and error.reason == "unreadable":
                raise error.__cause__ from error
            if error.reason not in _DOUBTFUL or not source.is_file():
                raise
        with source.open() as file:
            while file.read(_BLOCK):
                pass
        return attempt()

    with as_unreadable(source):
        return retry(careful, str(source), tell)


def await_root(attempt: Callable[[], Result], root: Source) -> Result:
    """Open a video, and again after growing waits where the folder of all videos is gone or empty.

    Args:
        attempt: What may fail; it can be called again.
        root: The folder, which was there before.

    Raises:
        VideoError: The video cannot be opened.
    """

    def careful() -> Result:
        try:
            return attempt()
        except VideoError as error:
            if error.reason not in ("missing", "unreadable") or not root.is_away():
                raise
            raise FileNotFoundError(errno.ENOENT, "the folder is gone or empty") from error

    with as_unreadable(root):
        return retry(careful, str(root), tell, may_pass=lambda _: True)
