"""A recording in so many equal stretches of time, as many as a page can show."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.report.readings import Floats, Readings

MOST = 300  # stretches in a drawing, about one for three points of its width
_WIDTHS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)  # s


@dataclass(frozen=True, slots=True)
class Bins:
    """Divide a recording into stretches of `width` seconds.

    Attributes:
        edges: (k + 1,) seconds at which they begin and end.
        of: (n,) the stretch of each picture.
        width: Their length in seconds.
    """

    edges: Floats
    of: NDArray[np.intp]
    width: float

    @property
    def count(self) -> int:
        """Return how many stretches there are."""
        return len(self.edges) - 1

    def mean(self, values: Floats) -> Floats:
        """Return (k,) the mean of what is known in each stretch; NaN where nothing is."""
        known = np.isfinite(values)
        counts = np.bincount(self.of[known], minlength=self.count)
        sums = np.bincount(self.of[known], values[known], minlength=self.count)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def divide(readings: Readings) -> Bins:
    """Return the stretches of a recording: the shortest round width of which at most `MOST` cover it."""
    t = readings.t
    begin, end = (float(t[0]), float(t[-1])) if len(t) else (0.0, 0.0)
    period = float(np.median(np.diff(t))) if len(t) > 1 else 0.1
    length = end + period - begin
    width = next((w for w in _WIDTHS if w >= 0.99 * period and length / w <= MOST), max(period, length / MOST))
    count = max(1, int(np.ceil(length / width - 1e-6)))
    of = np.clip(((t - begin) / width + 1e-6).astype(np.intp), 0, count - 1)
    edges = begin + width * np.arange(count + 1, dtype=np.float64)
    edges[-1] = min(edges[-1], begin + length)
    return Bins(edges, of, width)
