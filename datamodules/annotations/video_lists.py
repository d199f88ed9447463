"""List files of videos in the field's common text forms."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from datamodules.annotations.listed_videos import ListedVideos
from datamodules.annotations.text_files import read_lines
from datamodules.errors import UserError
from datamodules.video.suffixes import VIDEO_SUFFIXES

_SUFFIX = "(?:" + "|".join(re.escape(suffix) for suffix in sorted(VIDEO_SUFFIXES)) + ")"
_NUMBER = r"-?\d+(?:\.\d+)?"
# "x.mp4 grow": a video file, then text that is no number and no rest of a path
_CLASS_NAMED = re.compile(
    rf"(.+?{_SUFFIX})[\s,]+(?![\s,]|{_NUMBER}(?:[\s,]|$)|.*{_SUFFIX}$)([^/]+)", re.IGNORECASE
)
# in every entry, in no header line: a folder, a video file or a number at the end
_ENTRY = re.compile(rf"/|{_SUFFIX}(?:[\s,]|$)|[\s,]{_NUMBER}$", re.IGNORECASE)


def read_video_list(path: Path) -> ListedVideos:
    """Read a list file in any of the field's common forms, one video a line.

    Fields are separated by blanks, tabs or commas, and are counted from the right, so that paths
    may hold blanks: `path label`, `frame_dir num_frames label`, `path duration label`,
    `frame_dir start_index total_frames` (no label) and a bare `path`. Without a label the class is
    the name of the folder that holds the video. Video files may also be listed with the name of
    their class, `path class`. Fields may be quoted as in CSV.

    Raises:
        UserError: If the file is missing, is empty, is not UTF-8, has a header or mixes forms.
    """
    lines = [_unquoted(line) for line in read_lines(path)]
    if not lines:
        raise UserError(f"the list file {path} is empty; it needs one video a line")
    if len(lines) > 1 and not _ENTRY.search(lines[0]) and all(map(_ENTRY.search, lines[1:])):
        raise UserError(
            f"the first line of {path}, {lines[0]!r}, names no video but all others do; remove the "
            "header line"
        )
    named = [_CLASS_NAMED.fullmatch(line) for line in lines]
    if any(named):
        if not all(named):
            invalid = lines[named.index(None)]
            raise UserError(
                f"{path} mixes lines with and without a class name, such as {invalid!r}"
            )
        matches = [match for match in named if match]
        return ListedVideos([match[1] for match in matches], [match[2] for match in matches])
    return _read_numbered_lines(path, lines)


def _unquoted(line: str) -> str:
    """Remove the quotes of CSV fields from a line."""
    return ",".join(next(csv.reader([line]))) if '"' in (line[0], line[-1]) else line


def _read_numbered_lines(path: Path, lines: Sequence[str]) -> ListedVideos:
    """Read lines of a path and up to two numbers."""
    numbers = [re.fullmatch(rf"(.*?)((?:[\s,]+{_NUMBER}){{0,2}})", line) for line in lines]
    fields = [(m[1], re.split(r"[\s,]+", m[2].strip(" \t,")) if m[2] else []) for m in numbers if m]
    counts = {len(values) for _, values in fields}
    if counts == {1, 2}:  # some paths end in a number after a blank: the label stands last
        fields = [(" ".join([name, *values[:-1]]), values[-1:]) for name, values in fields]
    elif len(counts) > 1:
        invalid = next(line for line, (_, values) in zip(lines, fields, strict=True) if not values)
        raise UserError(f"{path} mixes lines with and without a label, for instance {invalid!r}")
    starts_only = all(len(v) == 2 and v[0] in {"0", "1"} for _, v in fields)
    labels = [
        values[-1] if values and not starts_only else Path(name).parent.name
        for name, values in fields
    ]
    return ListedVideos([name for name, _ in fields], labels)
