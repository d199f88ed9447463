"""File names of videos and frames: their suffixes and stems."""

import os
import re

from datamodules.storage.source import Place, Source, as_source

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    }
)
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".webp"))


def has_video_suffix(name: str) -> bool:
    """Check that a file is a video by its name.

    Args:
        name: Its name or path.
    """
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def is_video(place: Place) -> bool:
    """Check that a place is a video file by its suffix, or a frame folder.

    A frame folder holds images, and neither video files nor (visible) folders: a picture beside
    videos does not make their folder one.
    """
    source = as_source(place)
    if not source.is_folder():
        return has_video_suffix(source.name)
    images = False
    for name, is_folder in source.entries():
        if has_video_suffix(name) or (is_folder and not name.startswith(".")):
            return False
        images |= os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
    return images


def visible_folders(folder: Source) -> list[str]:
    """List the names of the folders in a folder, sorted, without hidden ones."""
    entries = folder.entries()
    return sorted(name for name, is_folder in entries if is_folder and not name.startswith("."))


def stem_of(name: str) -> str:
    """Take the suffix off a file name, where it is a video's."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and dot + suffix.lower() in VIDEO_SUFFIXES else name


def letters_of(name: str) -> str:
    """Reduce a folder's name to its letters and digits, in lower case, equal in all spellings."""
    return re.sub(r"[\W_]", "", name).lower()
