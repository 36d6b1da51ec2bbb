"""Statistics over trailing windows of seconds, updated in amortised constant time.

Mean, standard deviation, range and slope over a short, a middle and a long term are what Fujitsu's ABAW system reads
from each feature (arXiv 2009.13885); here they describe valence and arousal.

Sums that add the new and subtract the old drift and cancel. Here every window is a queue of two stacks instead: suffix
sums over the samples it held when it was last rebuilt, and one running sum over those that came since. A sample that
leaves is never subtracted, it is simply no longer in the suffix that is read. A rebuild, which costs as much as the
window holds, comes once per that many samples; it also re-centres values and times on the window, so that an offset of
ten thousand costs no digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Seconds; short, middle and long term of the Fujitsu system.
WINDOW_SECONDS = (1.0, 6.0, 12.0)
# s. Times such as i / 30 carry rounding errors of 1e-15, which must not decide whether a sample is still inside.
EDGE = 1e-6

# Rows of the sums: count, sum of x, of x², of time, of time², of time times x.
_N, _X, _XX, _T, _TT, _TX = range(6)
_FIRST_CAPACITY = 64

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of each window (rows) and column. NaN where a window holds no value; std, range and slope are 0 for one value."""

    count: NDArray[np.int64]  # (windows, columns)
    mean: Rows  # (windows, columns)
    std: Rows  # population form
    range: Rows  # max - min
    slope: Rows  # per second, least squares on the true times


class TrailingWindows:
    """Trailing windows (t - seconds, t] over the same irregular samples of some columns.

    Equal times are allowed, times that go back are not. Memory is that of the samples in the longest window."""

    def __init__(self, columns: int, seconds: Sequence[float] = WINDOW_SECONDS) -> None:
        """`columns`: values per sample; `seconds`: length of each window, each above 0."""
        if columns < 1 or not seconds or min(seconds) <= 0:
            raise ValueError(f"windows need columns and lengths above 0 s, not {columns} and {tuple(seconds)}")
        self._seconds = np.array(seconds, float)
        self._times = np.zeros(_FIRST_CAPACITY)
        self._values = np.zeros((_FIRST_CAPACITY, columns))
        self._first = 0  # position of the oldest sample that any window holds
        self._end = 0  # position after the newest
        self._now = -np.inf  # s
        count = len(self._seconds)
        self._heads = [0] * count  # position of each window's oldest sample
        self._splits = [0] * count  # position after the samples of the suffix sums
        self._bases = [0] * count  # position of the first row of the suffix sums
        self._suffix_sums = [np.zeros((1, 6, columns)) for _ in range(count)]
        self._suffix_max = [np.full((1, columns), -np.inf) for _ in range(count)]
        self._suffix_min = [np.full((1, columns), np.inf) for _ in range(count)]
        self._new_sums = np.zeros((count, 6, columns))
        self._new_max = np.full((count, columns), -np.inf)
        self._new_min = np.full((count, columns), np.inf)
        self._origin = np.zeros(count)  # s, what times are counted from
        self._offset = np.zeros((count, columns))  # what values are counted from ...
        self._anchored = np.zeros((count, columns), bool)  # ... once one has been seen: far values would cancel out

    @property
    def newest(self) -> float:
        """Seconds at which the windows end; -inf before the first sample."""
        return self._now

    def push(self, t: float, values: ArrayLike) -> None:
        """Takes `values` (columns,) at `t` seconds; NaN is not counted. Raises ValueError if `t` goes back."""
        row = np.asarray(values, float)
        valid = np.isfinite(row)
        if not valid.any():
            self.advance(t)
            return
        row = np.where(valid, row, np.nan)
        self._check(t)
        if self._end == len(self._times):
            self._make_room()
        self._times[self._end] = t
        self._values[self._end] = row
        self._end += 1
        first = valid & ~self._anchored
        self._offset = np.where(first, row, self._offset)
        self._anchored |= first
        x = np.where(valid, row - self._offset, 0.0)  # (windows, columns)
        tau = np.where(valid, (t - self._origin)[:, None], 0.0)
        new = self._new_sums
        new[:, _N] += valid
        new[:, _X] += x
        new[:, _XX] += x * x
        new[:, _T] += tau
        new[:, _TT] += tau * tau
        new[:, _TX] += tau * x
        np.fmax(self._new_max, row, out=self._new_max)
        np.fmin(self._new_min, row, out=self._new_min)
        self._evict(t)

    def advance(self, t: float) -> None:
        """Lets the windows end at `t` seconds without a sample. Raises ValueError if `t` goes back."""
        self._check(t)
        self._evict(t)

    def statistics(self) -> Statistics:
        """Of the windows that end at the newest time."""
        rows = [head - base for head, base in zip(self._heads, self._bases, strict=True)]
        sums = self._new_sums + [part[row] for part, row in zip(self._suffix_sums, rows, strict=True)]
        high = np.maximum(self._new_max, [part[row] for part, row in zip(self._suffix_max, rows, strict=True)])
        low = np.minimum(self._new_min, [part[row] for part, row in zip(self._suffix_min, rows, strict=True)])
        n = sums[:, _N]
        some = np.maximum(n, 1.0)
        mean = sums[:, _X] / some
        extent = high - low
        varied = (n > 1) & (extent > 0)  # a constant is constant, whatever rounding says
        variance = np.where(varied, sums[:, _XX] / some - mean * mean, 0.0)
        spread = n * sums[:, _TT] - sums[:, _T] ** 2
        usable = varied & (spread > EDGE**2)
        slope = np.where(usable, n * sums[:, _TX] - sums[:, _T] * sums[:, _X], 0.0) / np.where(usable, spread, 1.0)
        empty = n == 0
        return Statistics(
            count=n.astype(np.int64),
            mean=np.where(empty, np.nan, mean + self._offset),
            std=np.where(empty, np.nan, np.sqrt(np.maximum(variance, 0.0))),
            range=np.where(empty, np.nan, extent),
            slope=np.where(empty, np.nan, slope),
        )

    def _check(self, t: float) -> None:
        if not t >= self._now:
            raise ValueError(f"time went back from {self._now} s to {t} s")
        self._now = t

    def _evict(self, t: float) -> None:
        for window, oldest in enumerate((t - self._seconds + EDGE).tolist()):
            head = self._heads[window]
            while head < self._end and self._times[head] <= oldest:
                head += 1
            self._heads[window] = head
            if head > self._splits[window] or (head == self._splits[window] and head < self._end):
                self._rebuild(window)
        self._first = min(self._heads)

    def _rebuild(self, window: int) -> None:
        head, end = self._heads[window], self._end
        times, values = self._times[head:end], self._values[head:end]
        valid = np.isfinite(values)
        counts = np.maximum(valid.sum(0), 1)
        offset = np.where(valid, values, 0.0).sum(0) / counts
        origin = float(times[-1]) if len(times) else self._now
        x = np.where(valid, values - offset, 0.0)
        tau = np.where(valid, (times - origin)[:, None], 0.0)
        moments = np.zeros((len(times) + 1, 6, values.shape[1]))  # the last row is the sum of nothing
        moments[:-1] = np.stack([valid, x, x * x, tau, tau * tau, tau * x], axis=1)
        high = np.full((len(times) + 1, values.shape[1]), -np.inf)
        low = np.full_like(high, np.inf)
        high[:-1] = np.where(valid, values, -np.inf)
        low[:-1] = np.where(valid, values, np.inf)
        self._suffix_sums[window] = np.cumsum(moments[::-1], axis=0)[::-1]
        self._suffix_max[window] = np.maximum.accumulate(high[::-1])[::-1]
        self._suffix_min[window] = np.minimum.accumulate(low[::-1])[::-1]
        self._bases[window], self._splits[window] = head, end
        self._new_sums[window] = 0.0
        self._new_max[window] = -np.inf
        self._new_min[window] = np.inf
        self._origin[window], self._offset[window] = origin, offset
        self._anchored[window] = valid.any(0)

    def _make_room(self) -> None:
        """Moves what is held to the front of the rows, of twice as many where they are more than half full."""
        held = self._end - self._first
        capacity = max(_FIRST_CAPACITY, len(self._times) * (2 if 2 * held > len(self._times) else 1))
        times, values = np.zeros(capacity), np.zeros((capacity, self._values.shape[1]))
        times[:held] = self._times[self._first : self._end]
        values[:held] = self._values[self._first : self._end]
        moved = self._first
        self._times, self._values = times, values
        self._first, self._end = 0, held
        self._heads = [head - moved for head in self._heads]
        self._splits = [split - moved for split in self._splits]
        self._bases = [base - moved for base in self._bases]
