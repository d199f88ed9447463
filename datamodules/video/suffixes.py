"""File names of videos and frames: their suffixes and stems."""

import os
import re
from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    }
)
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".webp"))


def is_video(path: Path) -> bool:
    """Check that a path is a video file by its suffix, or a frame folder.

    A frame folder holds images, and neither video files nor (visible) folders: a picture beside
    videos does not make their folder one.
    """
    if not path.is_dir():
        return path.suffix.lower() in VIDEO_SUFFIXES
    images = False
    with os.scandir(path) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if suffix in VIDEO_SUFFIXES or (entry.is_dir() and not entry.name.startswith(".")):
                return False
            images |= suffix in IMAGE_SUFFIXES
    return images


def visible_folders(folder: Path) -> list[str]:
    """List the names of the folders in a folder, sorted, without hidden ones."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def stem_of(name: str) -> str:
    """Take the suffix off a file name, where it is a video's."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and dot + suffix.lower() in VIDEO_SUFFIXES else name


def letters_of(name: str) -> str:
    """Reduce a folder's name to its letters and digits, in lower case, equal in all spellings."""
    return re.sub(r"[\W_]", "", name).lower()
