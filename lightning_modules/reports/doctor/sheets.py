"""Videos on the page of an examination: clips of each class, and odd videos beside a finding."""

import math
from html import escape

import numpy as np
from numpy.typing import NDArray

from datamodules.health.contact_sheet import CLASSES, FRAMES, SheetClip
from datamodules.health.decode_check import Part
from datamodules.health.examination import Examination
from datamodules.health.findings import Finding
from datamodules.video.reader import VideoError
from datamodules.video.segment import VideoSegment
from lightning_modules.reports.frames import strip

ODD_FRAMES = 3
"""Frames that are shown of an odd video."""


def class_sheet(found: Examination) -> str:
    """Show training clips of each class, after sampling and crops.

    Args:
        found: The examination.

    Returns:
        HTML.
    """
    size, sampling = found.data.spec.crops.size, found.data.spec.sampling.describe()
    note = (
        f"training clips of the first epoch, {sampling}, {size} px, without flips and colours; "
        f"{FRAMES} frames of each"
    )
    more = len(found.data.class_names) - CLASSES
    if more > 0:
        note += f"; {more:,} more classes are not shown"
    cards = "".join(_class(name, clips) for name, clips in found.sheet.items())
    return f'<p class="caption">{escape(note)}</p><div class="clips">{cards}</div>'


def _class(name: str, clips: list[SheetClip]) -> str:
    rows = "".join(
        f'{strip(clip.frames)}<p class="caption">{escape(clip.video_id)}</p>' for clip in clips
    )
    shown = rows or '<p class="caption">no video of it was decoded</p>'
    return f'<div class="card"><h3>{escape(name)}</h3>{shown}</div>\n'


def odd_videos(finding: Finding) -> str:
    """Show frames of the first videos that a finding is about, whole, as they are.

    Args:
        finding: The finding.

    Returns:
        HTML; empty where it shows none.
    """
    cards = "".join(
        f"<figure>{strip(frames)}<figcaption>{escape(example)}</figcaption></figure>"
        for part, example in zip(finding.shown, finding.examples, strict=False)
        if (frames := _frames(part)) is not None
    )
    return f'<div class="odd">{cards}</div>' if cards else ""


def _frames(part: Part) -> NDArray[np.uint8] | None:
    """Read frames of a video; None where it was changed since."""
    start, end = (math.nan if time is None else time for time in part[1:])
    try:
        with VideoSegment(part.path, start, end) as video:
            last = video.num_frames - 1
            chosen = np.unique(np.linspace(0, last, ODD_FRAMES).round().astype(int))
            frames: NDArray[np.uint8] = video.get_frames(chosen).permute(0, 2, 3, 1).numpy()
    except VideoError:
        return None
    return frames
