"""Steps after a network: medians and means of sequences, their causal forms, fusion by validation scores. numpy only.

Kollias and Zafeiriou 2020 take the median of a sequence and the mean of an utterance's medians, and weight networks by
their validation CCC. Live, where the future is unknown, medians and means run over what has been seen.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

TRAILING = 15  # outputs, half a second at 30 a second

Floats = NDArray[np.float64]


def sequence_median(outputs: ArrayLike) -> Floats:
    """(time, columns) -> (columns,)."""
    median: Floats = np.median(np.asarray(outputs, np.float64), axis=0)
    return median


def utterance_estimate(sequences: Sequence[ArrayLike]) -> Floats:
    """Mean of the medians of an utterance's `sequences`, each (time, columns)."""
    mean: Floats = np.mean([sequence_median(outputs) for outputs in sequences], axis=0)
    return mean


def centred_median(outputs: ArrayLike, window: int) -> Floats:
    """Median filter over `window` frames (odd), shorter at the ends; looks (window - 1) / 2 frames ahead."""
    x, half = np.asarray(outputs, np.float64), window // 2
    return np.stack([np.median(x[max(0, t - half) : t + half + 1], axis=0) for t in range(len(x))])


def decision_fusion(estimates: ArrayLike, ccc: ArrayLike) -> Floats:
    """Weighted mean over networks: `estimates` and validation `ccc` (networks, columns); a CCC below 0 counts as 0."""
    weights = np.maximum(np.asarray(ccc, np.float64), 0)
    fused: Floats = (np.asarray(estimates, np.float64) * weights).sum(0) / weights.sum(0)
    return fused


class TrailingMedian:
    """Median of the last `window` values, one value at a time."""

    def __init__(self, window: int = TRAILING) -> None:
        self._window = window
        self._values: deque[float] = deque()
        self._sorted: list[float] = []

    def __call__(self, value: float) -> float:
        """Takes the newest value; gives the median up to it."""
        if len(self._values) == self._window:
            del self._sorted[bisect_left(self._sorted, self._values.popleft())]
        self._values.append(value)
        insort(self._sorted, value)
        middle = len(self._sorted) // 2
        if len(self._sorted) % 2:
            return self._sorted[middle]
        return (self._sorted[middle - 1] + self._sorted[middle]) / 2
