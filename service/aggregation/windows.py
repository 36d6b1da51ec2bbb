"""Statistics over trailing windows of seconds, updated in amortised constant time.

Mean, standard deviation, range and slope over a short, a middle and a long term are what Fujitsu's ABAW system reads
from each feature (arXiv 2009.13885); here they describe valence and arousal.

Sums that add the new and subtract the old drift and cancel. Here every window is a queue of two stacks instead: suffix
sums over the samples that it held when it was last rebuilt, and one running sum over those that came since. A sample
that leaves is never subtracted; it is no longer in the suffix that is read. A rebuild costs as much as the window holds
and happens once per that many samples; it also re-centres values and times on the window, so that an offset of ten
thousand costs no digits.

Samples come in the order of their times, but the end of the windows may lie after the newest sample: a model that
answers late gives its samples at their own times, while the windows have moved on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Seconds; short, middle and long term of the Fujitsu system.
WINDOW_SECONDS = (1.0, 6.0, 12.0)
# s. Times such as i / 30 carry rounding errors of 1e-15, which must not decide whether a sample is still inside.
EDGE = 1e-6

# Rows of the sums: count, sum of x, of time, of x², of x times time, of time²; what follows are the largest x and -x.
_N, _X, _T, _XX, _XT, _TT = range(6)
_SUMS = 6
_FIRST_CAPACITY = 64

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Hold the statistics of each window (rows) and column; NaN where a window holds no value.

    Attributes:
        count: (windows, columns) numbers of values.
        mean: (windows, columns).
        std: (windows, columns) standard deviations in the population form; 0 for one value.
        range: (windows, columns) largest minus smallest value.
        slope: (windows, columns) change per second, by least squares on the true times; 0 for one value.
    """

    count: NDArray[np.int64]
    mean: Rows
    std: Rows
    range: Rows
    slope: Rows


class TrailingWindows:
    """Keep trailing windows (end - seconds, end] over the same irregular samples of some columns.

    Memory is that of the samples in the longest window.
    """

    def __init__(self, columns: int, seconds: Sequence[float] = WINDOW_SECONDS) -> None:
        """Make empty windows of `columns` values per sample and of lengths `seconds`, each above 0."""
        if columns < 1 or not seconds or min(seconds) <= 0:
            raise ValueError(f"windows need columns and lengths above 0 s, not {columns} and {tuple(seconds)}")
        self._seconds = np.array(seconds, float)
        self._times = np.zeros(_FIRST_CAPACITY)
        self._values = np.zeros((_FIRST_CAPACITY, columns))
        self._first = 0  # position of the oldest sample that any window holds
        self._end = 0  # position after the newest
        self._now = -np.inf  # s, end of the windows
        self._newest = -np.inf  # s, of the newest sample
        count = len(self._seconds)
        self._heads = [0] * count  # position of each window's oldest sample
        self._splits = [0] * count  # position after the samples of the suffix sums
        self._bases = [0] * count  # position of the first row of the suffixes
        self._suffixes = [_nothing(1, columns) for _ in range(count)]  # (samples + 1, sums and extremes, columns)
        self._new = _nothing(count, columns)  # sums and extremes of what came since
        self._sample = _nothing(count, columns)  # those of the newest sample alone
        self._origin = np.zeros(count)  # s, what times are counted from
        self._offset = np.zeros((count, columns))  # what values are counted from, once `_anchored`
        self._anchored = np.zeros((count, columns), bool)  # whether a value was seen; sums of large values lose digits

    def push(self, t: float, values: ArrayLike) -> None:
        """Take `values` (columns,) at `t` seconds; NaN is not counted. The windows end at `t` or where they did.

        Raise `ValueError` if `t` is before the sample that came last.
        """
        row = np.asarray(values, float)
        valid = np.isfinite(row)
        if not t >= self._newest:
            raise ValueError(f"time went back from {self._newest} s to {t} s")
        self._newest = t
        self._now = max(self._now, t)
        if not valid.any():
            self._evict(self._now)
            return
        everything = bool(valid.all())
        if not everything:
            row = np.where(valid, row, np.nan)
        if self._end == len(self._times):
            self._make_room()
        self._times[self._end] = t
        self._values[self._end] = row
        self._end += 1
        if not self._anchored.all():
            first = valid & ~self._anchored
            self._offset = np.where(first, row, self._offset)
            self._anchored |= first
        sample = self._sample
        sample[:, _N] = valid
        np.subtract(row, self._offset, out=sample[:, _X])
        sample[:, _T] = (t - self._origin)[:, None]
        if not everything:
            sample[:, :_XX, ~valid] = 0.0
        _products(sample)
        sample[:, _SUMS], sample[:, _SUMS + 1] = row, -row
        self._new[:, :_SUMS] += sample[:, :_SUMS]
        np.fmax(self._new[:, _SUMS:], sample[:, _SUMS:], out=self._new[:, _SUMS:])
        self._evict(self._now)

    def advance(self, t: float) -> None:
        """Let the windows end at `t` seconds, or where they do already if that is later."""
        self._now = max(self._now, t)
        self._evict(self._now)

    def statistics(self) -> Statistics:
        """Return the statistics of the windows as they end now."""
        pieces = zip(self._suffixes, self._heads, self._bases, strict=True)
        old = np.array([suffix[head - base] for suffix, head, base in pieces])
        n, x, tau, xx, xt, tt = (self._new[:, :_SUMS] + old[:, :_SUMS]).swapaxes(0, 1)  # (windows, columns) each
        some = np.maximum(n, 1.0)
        mean = x / some
        extent = np.maximum(self._new[:, _SUMS:], old[:, _SUMS:]).sum(1)
        varied = (n > 1) & (extent > 0)  # a constant is constant, whatever rounding says
        variance = np.where(varied, xx / some - mean * mean, 0.0)
        spread = n * tt - tau * tau
        usable = varied & (spread > EDGE**2)
        slope = np.where(usable, n * xt - tau * x, 0.0) / np.where(usable, spread, 1.0)
        mean += self._offset
        std = np.sqrt(np.maximum(variance, 0.0))
        empty = n == 0
        if empty.any():
            for values in (mean, std, extent, slope):
                values[empty] = np.nan
        return Statistics(count=n.astype(np.int64), mean=mean, std=std, range=extent, slope=slope)

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
        suffix = _nothing(len(times) + 1, values.shape[1])  # its last row stays that
        samples = suffix[:-1]
        samples[:, _N] = valid
        samples[:, _X] = np.where(valid, values - offset, 0.0)
        samples[:, _T] = np.where(valid, (times - origin)[:, None], 0.0)
        _products(samples)
        samples[:, _SUMS] = np.where(valid, values, -np.inf)
        samples[:, _SUMS + 1] = np.where(valid, -values, -np.inf)
        backwards = suffix[::-1]
        backwards[:, :_SUMS].cumsum(0, out=backwards[:, :_SUMS])
        np.maximum.accumulate(backwards[:, _SUMS:], out=backwards[:, _SUMS:])
        self._suffixes[window] = suffix
        self._bases[window], self._splits[window] = head, end
        self._new[window] = _nothing(1, values.shape[1])[0]
        self._origin[window], self._offset[window] = origin, offset
        self._anchored[window] = valid.any(0)

    def _make_room(self) -> None:
        """Move what is held to the front of the rows, of twice as many where they are more than half full."""
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


def _nothing(rows: int, columns: int) -> Rows:
    """Return sums and extremes (rows, 8, columns) of no sample."""
    empty = np.zeros((rows, _SUMS + 2, columns))
    empty[:, _SUMS:] = -np.inf
    return empty


def _products(samples: Rows) -> None:
    """Fill in the squares and the product of x and time."""
    np.multiply(samples[:, _X : _T + 1], samples[:, _X, None], out=samples[:, _XX : _XT + 1])
    np.multiply(samples[:, _T], samples[:, _T], out=samples[:, _TT])
