"""Keep the trailing windows of `models.multiterm.windows` frame by frame, for a live stream. numpy only.

Sums, minima and maxima of every feature are kept for blocks of 0.2 s (float64), one row per block; a window is whole
blocks, so that each evaluation reads sixty rows at most however long the stream is, and nothing drifts: sums that run
on would have to be made anew from time to time, and queues of maxima are kept feature by feature.
"""

import numpy as np
from numpy.typing import NDArray

from models.multiterm.windows import FPS, SHIFT, TERMS

HOLD = SHIFT  # slots, 0.2 s, for which a frame stands in for later ones that are missing
_EARLY = 1 / (4 * FPS)  # s; a frame may come this much before its slot, because cameras jitter
_SUMS = 6  # of a block and feature: n, i, i², x, x², i x over its valid frames, i counted from the block's first

Floats = NDArray[np.float64]


def slot_of(t: float) -> int:
    """Return the place on the grid of 30 frames a second of a frame at `t` seconds."""
    return int((t + _EARLY) * FPS)


class BlockWindows:
    """Keep windows over frames of features, one frame a slot of the grid of 30 a second."""

    def __init__(self, columns: int, slot: int = 0, terms: tuple[int, ...] = TERMS) -> None:
        """Take the features of a frame, the slot of the first frame, and the windows' lengths in seconds."""
        self.slot = slot - 1  # of the newest frame
        self._blocks = {term: term * FPS // SHIFT for term in terms}
        rows = max(self._blocks.values())
        self._sums = np.zeros((rows, _SUMS, columns))
        self._low = np.full((rows, columns), np.inf)
        self._high = np.full((rows, columns), -np.inf)
        self._offset = np.full(columns, np.nan)  # the first value: squares of a large one would swallow a deviation

    @property
    def complete(self) -> bool:
        """Return whether the newest frame ends a block, which is when the windows are evaluated."""
        return self.slot % SHIFT == SHIFT - 1

    def push(self, x: Floats) -> None:
        """Add (columns,) of the next slot, NaN where a feature is missing."""
        self.slot += 1
        row, i = self._row(self.slot // SHIFT), self.slot % SHIFT
        if i == 0:
            self._sums[row], self._low[row], self._high[row] = 0, np.inf, -np.inf
        valid = np.isfinite(x)
        self._offset = np.where(valid & np.isnan(self._offset), x, self._offset)
        value = np.where(valid, x - self._offset, 0)
        self._sums[row] += np.stack((valid, i * valid, i * i * valid, value, value**2, i * value))
        self._low[row] = np.where(valid, np.minimum(self._low[row], value), self._low[row])
        self._high[row] = np.where(valid, np.maximum(self._high[row], value), self._high[row])

    def statistics(self) -> dict[int, Floats]:
        """Return by seconds (4, columns): `windows.STATISTICS` over the windows that end with the newest block."""
        newest = self.slot // SHIFT
        return {term: self._window(newest, blocks) for term, blocks in self._blocks.items()}

    def _window(self, newest: int, blocks: int) -> Floats:
        numbers = np.arange(newest - blocks + 1, newest + 1)
        rows = self._row(numbers)
        begin = (SHIFT * np.arange(blocks))[:, None]  # of each block, in slots from the window's first
        n, i, ii, x, xx, ix = self._sums[rows].transpose(1, 0, 2)
        i, ii, ix = i + begin * n, ii + 2 * begin * i + begin**2 * n, ix + begin * x
        n, s, ss, st, stt, stv = (part.sum(0) for part in (n, x, xx, i, ii, ix))
        span = self._high[rows].max(0) - self._low[rows].min(0)
        flat = span == 0  # rounding would leave traces of a deviation
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = s / n
            std = np.sqrt(np.maximum(ss / n - mean**2, 0))
            slope = (n * stv - st * s) / (n * stt - st**2) * FPS
        out = np.stack((mean + self._offset, np.where(flat, 0, std), span, np.where(flat | (n < 2), 0, slope)))
        return np.where(n > 0, out, np.nan)

    def _row(self, block: "int | NDArray[np.int64]") -> NDArray[np.int64]:
        return np.asarray(block) % len(self._sums)
