"""Action units as OpenFace's live mode gives them: each person's own floor taken off, and a little smoothing.

OpenFace 2.2 (Baltrušaitis et al. 2018) subtracts the running 10 % quantile of each unit, kept as a histogram, from the
tenth frame on, and smooths recordings by centred means of 3 (intensity) and 7 frames (occurrence): here they trail.
"""

from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

INTENSITIES = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23",
    "AU25", "AU26", "AU45",
)  # fmt: skip
OCCURRENCES = tuple(sorted((*INTENSITIES, "AU28")))
COLUMNS = (*(f"{unit}_r" for unit in INTENSITIES), *(f"{unit}_c" for unit in OCCURRENCES))
FULL = 5.0  # intensity of a unit at its strongest
_BINS, _LOW, _HIGH = 200, -3.0, 5.0  # of the histogram
_QUANTILE, _FEWEST = 0.1, 10  # frames
_INTENSITY_FRAMES, _OCCURRENCE_FRAMES = 3, 7
_PRESENT = 0.5

Floats = NDArray[np.float64]


class AUCalibration:
    """Hold the calibration of one face's action units; frames come one for each slot of a grid of 30 a second."""

    def __init__(self) -> None:
        self._histogram = np.zeros((len(INTENSITIES), _BINS), np.int64)
        self._intensities: deque[Floats] = deque(maxlen=_INTENSITY_FRAMES)
        self._occurrences: deque[Floats] = deque(maxlen=_OCCURRENCE_FRAMES)

    def __call__(self, units: Mapping[str, float]) -> Floats:
        """Return the `COLUMNS` of this frame (35,), from the values 0..1 of `units`.

        Intensities lie in 0..5 and occurrences are 0 or 1; both are NaN for the units that are not given.
        """
        strength = FULL * np.array([units.get(unit, np.nan) for unit in INTENSITIES])
        known = np.isfinite(strength)
        bins = ((np.where(known, strength, 0) - _LOW) / (_HIGH - _LOW) * _BINS).astype(int).clip(0, _BINS - 1)
        self._histogram[np.flatnonzero(known), bins[known]] += 1
        self._intensities.append(np.clip(strength - self._floor(), 0, FULL))
        present = np.array([units.get(unit, np.nan) for unit in OCCURRENCES])
        self._occurrences.append(np.where(np.isfinite(present), present >= _PRESENT, np.nan))
        share = _mean(self._occurrences)
        return np.concatenate((_mean(self._intensities), np.where(np.isfinite(share), share >= _PRESENT, np.nan)))

    def _floor(self) -> Floats:
        """Return (17,), the lowest bin beyond the quantile; it is 0 until enough frames were seen."""
        seen = self._histogram.sum(1)
        first = (self._histogram.cumsum(1) > _QUANTILE * seen[:, None]).argmax(1)
        return np.where(seen >= _FEWEST, _LOW + (first + 0.5) * (_HIGH - _LOW) / _BINS, 0)


def _mean(frames: "deque[Floats]") -> Floats:
    """Return the mean over the frames that have a value."""
    x = np.stack(frames)
    n = np.isfinite(x).sum(0)
    return np.where(n > 0, np.nansum(x, 0) / np.maximum(n, 1), np.nan)
