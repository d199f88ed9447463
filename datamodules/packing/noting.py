"""Notes of the videos of a packed dataset; see `datamodules.video.indices.notes`."""

import os

from datamodules.storage.base import Source
from datamodules.video.errors import VideoError
from datamodules.video.indices.notes import to_note
from datamodules.video.reader import VideoReader
from datamodules.video.suffixes import VIDEO_SUFFIXES

__all__ = ["note_of"]


def note_of(source: Source) -> bytes:
    """Note a video, by reading all of its packets.

    Args:
        source: A file.

    Returns:
        The note; empty for any other file, and for a video that cannot be read.
    """
    if os.path.splitext(source.name)[1].lower() not in VIDEO_SUFFIXES:
        return b""
    try:
        with VideoReader(source) as video:
            return to_note(video.index)
    except VideoError:
        return b""
