"""Notes of the videos of a packed dataset; see `datamodules.video.indices.notes`."""

from datamodules.storage.base import Source
from datamodules.video.errors import VideoError
from datamodules.video.indices.notes import to_note
from datamodules.video.reader import VideoReader
from datamodules.video.suffixes import has_video_suffix

__all__ = ["note_of"]


def note_of(source: Source) -> bytes:
    """Note a video, by reading all of its packets.

    Args:
        source: A file.

    Returns:
        The note; empty for any other file, and for a video that cannot be read.
    """
    if not has_video_suffix(source.name):
        return b""
    try:
        with VideoReader(source) as video:
            return to_note(video.index)
    except VideoError:
        return b""
