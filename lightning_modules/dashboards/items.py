"""Items that a run shows beside its metrics, whatever shows them.

T frames, H, W, C channels, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bars", "Clip", "Clips", "Confusion", "Item", "Lines", "Picture", "Table"]


@dataclass(frozen=True)
class Picture:
    """A picture that lies in a file.

    Attributes:
        path: The file.
    """

    path: Path


@dataclass(frozen=True)
class Clip:
    """A clip that can be played.

    Attributes:
        frames: RGB, uint8, (T, H, W, C).
        caption: Words beside it.
        frame_rate: Frames per second at which it is shown.
    """

    frames: NDArray[np.uint8]
    caption: str = ""
    frame_rate: float = 8.0


@dataclass(frozen=True)
class Clips:
    """Some clips beside each other."""

    clips: Sequence[Clip]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: Headings.
        rows: Their cells.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | Clip | None]]


@dataclass(frozen=True)
class Bars:
    """A number for each of some names.

    Attributes:
        of: What the names are, such as `class`.
        value: What the numbers are, such as `accuracy`.
        values: Name -> number; NaN where there is none.
    """

    of: str
    value: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Lines:
    """Numbers along an axis.

    Attributes:
        along: What the axis is, such as `layer`.
        points: Its points, (N,).
        lines: Name of a line -> its N numbers.
    """

    along: str
    points: Sequence[float]
    lines: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        counts: (K, K), true class in rows.
        class_names: Names of the K classes.
    """

    counts: NDArray[np.int64]
    class_names: Sequence[str]


Item = Picture | Clips | Table | Bars | Lines | Confusion
