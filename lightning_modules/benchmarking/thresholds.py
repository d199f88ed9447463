"""Thresholds: curves through accuracies at several levels of difficulty.

A network that was trained on the easiest clips is tested on the same clips made harder along one
axis. Its accuracy falls from its own at the easiest level towards chance; a logistic curve through
it (Wichmann and Hill, The psychometric function, 2001, equation 1, with falling accuracy) is where
75 % are right, half-way between all and what blindness to order leaves, the threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit, xlogy

from datamodules.motion_shapes.rendering import CLASS_NAMES

__all__ = ["AXES", "HALF_WAY", "Axis", "Curve", "fit_curve"]

HALF_WAY = 0.75
"""Accuracy at a threshold."""

_CHANCE = 1 / len(CLASS_NAMES)
_STARTS = (0.15, 0.35, 0.55, 0.75)
"""Where the search for the middle of a curve begins, as parts of the range."""


@dataclass(frozen=True)
class Axis:
    """One thing that makes the motion harder to see.

    Attributes:
        key: Setting of the data that it is.
        levels: What is tested, from the easiest on.
        title: Name in pictures, with its unit.
    """

    key: str
    levels: tuple[float, ...]
    title: str

    @property
    def is_ratio(self) -> bool:
        """True where less is harder, and equal ratios are equal steps."""
        return self.levels[0] > self.levels[-1]

    def difficulty(self, levels: Sequence[float]) -> NDArray[np.float64]:
        """Place levels on a scale from 0, the easiest, on."""
        values = np.asarray(levels, np.float64)
        return np.log2(self.levels[0] / values) if self.is_ratio else values - self.levels[0]

    def level(self, difficulty: float) -> float:
        """Give the level of a difficulty."""
        if self.is_ratio:
            return float(self.levels[0] / 2**difficulty)
        return float(self.levels[0] + difficulty)


AXES = {
    "speed": Axis("scene.speed", (1, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1), "speed, part of the full"),
    "contrast": Axis("scene.contrast", (1, 0.5, 0.25, 0.12, 0.06, 0.03), "contrast"),
    "noise": Axis("scene.noise", (0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4), "noise, part of white"),
    "camera": Axis("scene.camera", (0, 1, 2, 3, 4, 6, 8), "camera motion, pixels"),
    "distractors": Axis("scene.distractors", (0, 1, 2, 3, 4, 6, 8), "distractors"),
    "length": Axis("video_frames", (25, 32, 40, 48, 56, 64), "frames of the whole motion"),
}
"""The axes of MotionShapes by name."""


@dataclass(frozen=True)
class Curve:
    """A falling logistic curve of accuracy over difficulty.

    Attributes:
        top: Accuracy that it begins from.
        middle: Difficulty at half the way to chance.
        steepness: Of the fall.
        reach: Highest difficulty that was tested.
    """

    top: float
    middle: float
    steepness: float
    reach: float

    def accuracy(self, difficulty: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the accuracy at difficulties."""
        fall = expit(-self.steepness * (difficulty - self.middle))
        return np.asarray(_CHANCE + (self.top - _CHANCE) * fall)

    @property
    def threshold(self) -> float | None:
        """Difficulty at which `HALF_WAY` are right; None outside what was tested."""
        if self.top <= HALF_WAY:
            return None
        part = (HALF_WAY - _CHANCE) / (self.top - _CHANCE)
        found = float(self.middle - logit(part) / self.steepness)
        return found if 0 <= found <= self.reach else None


def fit_curve(difficulty: NDArray[np.float64], right: NDArray[np.float64], videos: int) -> Curve:
    """Fit a curve by maximum likelihood, every video a draw of its own.

    Args:
        difficulty: Difficulty of each test, (L,), from 0 on.
        right: Share of the videos that are right in each, (L,).
        videos: Videos of each test.
    """
    reach = float(difficulty.max())

    def curve_of(values: NDArray[np.float64]) -> Curve:
        top, middle, steepness = (float(value) for value in values)
        return Curve(top, middle, steepness, reach)

    def loss(values: NDArray[np.float64]) -> float:
        found = np.clip(curve_of(values).accuracy(difficulty), 1e-6, 1 - 1e-6)
        return -videos * float(np.sum(xlogy(right, found) + xlogy(1 - right, 1 - found)))

    bounds = [(_CHANCE, 1.0), (0.0, 2 * reach), (0.5 / reach, 200 / reach)]
    first = max(float(right[0]), _CHANCE)
    starts = [np.array([first, part * reach, 8 / reach]) for part in _STARTS]
    found = min((minimize(loss, start, bounds=bounds) for start in starts), key=lambda r: r.fun)
    return curve_of(found.x)
