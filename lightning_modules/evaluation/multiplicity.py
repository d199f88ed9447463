"""Many tests at once: p-values that stay honest however many are looked at."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import false_discovery_control


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust for the family-wise error rate: below 0.05, any false alarm among all has 5 %.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(p) for p in adjusted]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjust for the false discovery rate: of all that are below 0.05, 5 % are false on average.

    Source: Benjamini and Hochberg, Controlling the False Discovery Rate, 1995.
    """
    return [float(p) for p in false_discovery_control(p_values)] if len(p_values) else []
