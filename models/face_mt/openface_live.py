"""OpenFace 1's intensities of one person on film, frame after frame, with its corrections for the person.

Its dynamic predictors read how a face differs from its usual state: the running median of each feature over all frames
so far is subtracted. The running 10 % quantile is subtracted from each intensity (Baltrusaitis, Mahmoud and Robinson
2015; OpenFace counts frames, this module seconds at its usual 30 frames a second). Both are causal.
"""

import numpy as np
from numpy.typing import NDArray

from models.face_mt.openface import OpenFace
from models.face_mt.openface_files import Files, Floats

HOG_FEATURES = 4464
HIGHEST = 5.0
EVERY = 1 / 15 - 1e-6  # seconds between two frames that count in the medians
FLOOR_AFTER = 1 / 3  # seconds from which the quantile is taken off
_QUANTILE, _LOW, _HIGH, _BINS = 0.1, -3.0, 5.0, 200
_MOVES = 200  # bins that a median is moved by at most in one frame, which bounds the time that it takes
_FULL = 60_000  # frames that a median counts, more than an hour; the counters have 16 bits


class RunningMedian:
    """Keep the median of each of d series by a histogram of fixed bins."""

    def __init__(self, size: int, bins: int, low: float, high: float) -> None:
        self._low, self._width, self._bins = low, (high - low) / bins, bins
        self._counts = np.zeros((size, bins), np.uint16)
        self._at = np.zeros(size, np.int64)  # bin of the median
        self._below = np.zeros(size, np.int64)  # values in lower bins
        self._rows = np.arange(size)
        self._total = 0

    def push(self, values: Floats) -> None:
        """Count (d,) `values`; what lies outside counts in the last bin on its side."""
        if self._total == _FULL:
            return
        bins = ((values - self._low) / self._width).astype(np.int64).clip(0, self._bins - 1)
        self._counts[self._rows, bins] += 1
        if self._total == 0:
            self._at = bins
        self._below += bins < self._at
        self._total += 1
        half = self._total // 2
        for _ in range(_MOVES):
            here = self._counts[self._rows, self._at]
            up, down = self._below + here <= half, self._below > half
            if not (up.any() or down.any()):
                return
            self._below[up] += here[up]
            self._at[up] += 1
            self._at[down] -= 1
            self._below[down] -= self._counts[self._rows[down], self._at[down]]

    @property
    def value(self) -> Floats:
        """Return (d,) the medians, as middles of bins."""
        return np.asarray(self._low + (self._at + 0.5) * self._width, np.float64)


class Person:
    """Follow one person; hold about 14 MB of histograms."""

    def __init__(self, openface: OpenFace, files: Files) -> None:
        """Take the predictors of `files`, whose features `openface` computes."""
        self._openface, self._files = openface, files
        self._hog = RunningMedian(HOG_FEATURES, 1000, -0.005, 1.0)
        self._geometry = RunningMedian(len(files.mean) - HOG_FEATURES, 10_000, -60.0, 60.0)
        self._floor = np.zeros((len(files.units), _BINS), np.int64)
        self._first: float | None = None
        self._counted = -np.inf
        self.seen = -np.inf  # seconds of the newest frame

    def __call__(self, t: float, image: NDArray[np.uint8], points: NDArray[np.floating]) -> dict[str, float]:
        """Return the intensity of each unit, 0 to 5, at `t` seconds.

        `image`: (height, width, 3) RGB; `points`: (68, 2) pixels. Raise `numpy.linalg.LinAlgError` where the shape
        cannot be fitted.
        """
        features = self._openface.features(image, np.asarray(points, np.float64))
        self.seen, self._first = t, t if self._first is None else self._first
        if t - self._counted >= EVERY:
            self._counted = t
            self._hog.push(features[:HOG_FEATURES])
            self._geometry.push(features[HOG_FEATURES:])
        median = np.concatenate([np.maximum(self._hog.value, 0.0), self._geometry.value])
        files = self._files
        values = (features - files.mean) @ files.weights + files.bias
        values = values - np.where(files.dynamic, median @ files.weights, 0.0)
        bins = ((values - _LOW) / (_HIGH - _LOW) * _BINS).astype(np.int64).clip(0, _BINS - 1)
        self._floor[np.arange(len(bins)), bins] += 1
        if t - self._first >= FLOOR_AFTER:
            values = values - self._lowest()
        return dict(zip(files.units, np.clip(values, 0.0, HIGHEST).tolist(), strict=True))

    def _lowest(self) -> Floats:
        """Return (units,) the 10 % quantiles of what was seen."""
        first = (self._floor.cumsum(1) > _QUANTILE * self._floor.sum(1)[:, None]).argmax(1)
        return np.asarray(_LOW + (first + 0.5) * (_HIGH - _LOW) / _BINS, np.float64)
