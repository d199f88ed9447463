"""Near-duplicates side by side, on the page of an examination."""

import math
import os
from collections.abc import Sequence
from html import escape

import numpy as np

from datamodules.health.decode_check import Part
from datamodules.health.fingerprints import FOLDER_RATE
from datamodules.health.near_pairs import NearPair
from datamodules.video.reader import VideoError, open_video
from datamodules.video.segment import frames_between
from lightning_modules.reports.frames import picture

SHOWN = 40
"""Pairs with pictures; `findings.json` has all."""


def near_pairs(pairs: Sequence[NearPair]) -> str:
    """Draw pairs of videos at the same moment; a mirrored one is shown as it is.

    Args:
        pairs: The pairs, the most alike first.

    Returns:
        HTML.
    """
    cards = "".join(map(_pair, pairs[:SHOWN]))
    more = len(pairs) - SHOWN
    rest = f'<p class="caption">and {more:,} more, in findings.json</p>' if more > 0 else ""
    return f'<div class="pairs">{cards}</div>{rest}'


def _pair(pair: NearPair) -> str:
    figures = "".join(
        f"<figure>{_picture(part, moment)}<figcaption>{escape(name)}</figcaption></figure>"
        for name, part, moment in zip(
            (pair.video, pair.training), pair.parts, pair.moments, strict=True
        )
    )
    how = escape(f"{pair.split} and train, {pair.how}")
    return f'<div class="card"><p class="caption">{how}</p>{figures}</div>\n'


def _picture(part: Part, moment: float) -> str:
    """Make an image of the frame that is shown at a moment of a video."""
    try:
        with open_video(part.path) as video:
            times = video.timestamps / (FOLDER_RATE if os.path.isdir(part.path) else 1)
            start = math.nan if part.start is None else part.start
            first, _ = frames_between(times, start, math.nan)
            number = int(np.searchsorted(times, times[first] + moment, side="right")) - 1
            frame = video.get_frames([number])[0].permute(1, 2, 0).numpy()
    except VideoError:  # it was changed since
        return "<p>cannot be read any more</p>"
    return picture(frame)
