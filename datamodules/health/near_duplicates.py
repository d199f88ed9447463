"""Near-duplicates: videos that show the same moments, whatever their encoding, size or start.

Two videos are held against each other at every shift in time. What counts is how they *change*: the
difference of each tiny frame to the one a quarter of a second before, correlated over all frames of
the overlap. Clips of one room and one fixed camera look alike, but do not change alike; copies do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.health.fingerprints import RATE, SIDE, Fingerprint

__all__ = ["LEAST_FRAMES", "Likeness", "near_duplicates"]

ALIKE = 0.7
"""Correlation of the changes from which videos are near-duplicates."""

SAME_VIEW = 0.94
"""Mean correlation of the frames from which they are, and that of a few to take a closer look."""

LEAST_FRAMES = 4
"""Frames of a fingerprint that an overlap has at least: half a second."""

LEAST_OVERLAP = 0.5
"""Share of the shorter video that an overlap has at least."""

_LAG = 2
"""Frames of a fingerprint over which a change is taken: a quarter of a second."""

_NOISE = 6.4
"""Sum of squared differences in a frame that rounding may make."""

_ANCHORS, _OTHERS = round(RATE), 2
"""Every how many frames are compared in the search, of one side and of the other."""

_BLOCK = 2**25
"""Similarities that are computed at a time."""


class Likeness(NamedTuple):
    """The best alignment of two videos.

    Attributes:
        score: Correlation of their changes, at most 1.
        view: Mean correlation of their frames, at most 1.
        shift: Seconds of the first one's time at which the second one begins.
        is_mirrored: True if the second one is the first one's mirror image.
    """

    score: float
    view: float
    shift: float
    is_mirrored: bool = False

    @property
    def is_duplicate(self) -> bool:
        """True if they are near-duplicates."""
        return self.score >= ALIKE and self.view >= SAME_VIEW


NOTHING = Likeness(0.0, 0.0, 0.0)
"""The likeness of videos too short to compare."""


@dataclass(frozen=True)
class _Track:
    """A fingerprint, prepared for comparing.

    Attributes:
        frames: The fingerprint.
    """

    frames: Fingerprint

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def mirrored(self) -> "_Track":
        """The track of the mirror image."""
        return _Track(self.frames[:, :, ::-1])

    @cached_property
    def changes(self) -> NDArray[np.float32]:
        """Difference of each frame to the one `_LAG` before, (T - _LAG, C)."""
        flat = self.frames.reshape(len(self), -1).astype(np.float32)
        changes: NDArray[np.float32] = flat[_LAG:] - flat[:-_LAG]
        return changes

    @cached_property
    def energy(self) -> NDArray[np.float64]:
        """Sum of the squared changes before each of them, and of all, (T - _LAG + 1,)."""
        return np.concatenate([[0.0], (self.changes.astype(np.float64) ** 2).sum(1).cumsum()])


def _views(frames: Fingerprint) -> NDArray[np.float32]:
    """Make frames zero in the mean and of unit length, (T, C); uniform ones become about zero."""
    flat = frames.reshape(len(frames), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.sqrt((flat**2).sum(1, keepdims=True) + _NOISE)
    return flat


def _likeness(first: _Track, second: _Track) -> Likeness:
    """Find the shift at which two videos change most alike.

    Args:
        first: A video.
        second: Another one.
    """
    shorter = min(len(first), len(second))
    least = max(LEAST_FRAMES, round(LEAST_OVERLAP * shorter))
    if shorter < LEAST_FRAMES:
        return NOTHING
    lags = np.arange(-(len(second) - least), len(first) - least + 1)
    starts, others = np.maximum(lags, 0), np.maximum(-lags, 0)
    lengths = np.minimum(len(first.changes) - starts, len(second.changes) - others)
    shared = _products(first.changes, second.changes)[lags]
    energies = [
        track.energy[begin + lengths] - track.energy[begin]
        for track, begin in ((first, starts), (second, others))
    ]
    scores = shared / (np.sqrt(energies[0] * energies[1]) + _NOISE * lengths)
    best = int(scores.argmax())
    frames = int(lengths[best]) + _LAG
    views = [
        _views(track.frames[begin : begin + frames])
        for track, begin in ((first, starts[best]), (second, others[best]))
    ]
    view = (views[0] * views[1]).sum(1).mean()
    return Likeness(float(scores[best]), float(view), float(lags[best]) / RATE)


def _products(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum the products of (T, C) and (T', C) at every lag, negative ones at the end."""
    size = 1 << (len(first) + len(second) - 1).bit_length()
    spectra = np.fft.rfft(first, size, axis=0) * np.fft.rfft(second, size, axis=0).conj()
    return np.fft.irfft(spectra.sum(1), size)


def near_duplicates(
    ours: Sequence[Fingerprint], theirs: Sequence[Fingerprint]
) -> Iterator[tuple[int, int, Likeness]]:
    """Find the near-duplicates among two sets of videos.

    Args:
        ours: Fingerprints of the smaller set, N of them; those of under `LEAST_FRAMES` match none.
        theirs: Fingerprints of the other one.

    Yields:
        Positions in `ours` and in `theirs`, and the likeness of the two; by position in `ours`.
    """
    tracks = [_Track(frames) for frames in ours]
    others = [_Track(frames) for frames in theirs]
    best = dict[tuple[int, int], Likeness]()
    for is_mirrored in (False, True):
        turned = [track.mirrored for track in tracks] if is_mirrored else tracks
        for i, j in _same_views(turned, others):
            found = _likeness(turned[i], others[j])._replace(is_mirrored=is_mirrored)
            if found.is_duplicate and found.score > best.get((i, j), NOTHING).score:
                best[i, j] = found
    for i, j in sorted(best):
        yield i, j, best[i, j]


def _same_views(ours: Sequence[_Track], theirs: Sequence[_Track]) -> Iterator[tuple[int, int]]:
    """Find the pairs of videos of which some frames look alike."""
    anchors, anchors_of = _rows(ours, _ANCHORS)
    rows, rows_of = _rows(theirs, _OTHERS)
    if not len(anchors) or not len(rows):
        return
    step = max(1, _BLOCK // len(rows))
    starts = np.flatnonzero(np.diff(rows_of, prepend=-1))
    seen = set[tuple[int, int]]()
    for first in range(0, len(anchors), step):
        alike = np.maximum.reduceat(anchors[first : first + step] @ rows.T, starts, axis=1)
        for anchor, place in np.argwhere(alike >= SAME_VIEW).tolist():
            pair = int(anchors_of[first + anchor]), int(rows_of[starts[place]])
            if pair not in seen:
                seen.add(pair)
                yield pair


def _rows(tracks: Sequence[_Track], step: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Stack every few views of all tracks: (R, C), and the track of each, (R,)."""
    views = [_views(track.frames[::step]) for track in tracks]
    counts = [len(part) for part in views]
    return (
        np.concatenate([np.zeros((0, SIDE * SIDE), np.float32), *views]),
        np.repeat(np.arange(len(tracks)), counts),
    )
