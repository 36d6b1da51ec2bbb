"""Columns of sound that a replica has seen are not sent again.

A window of ten seconds is 256 kB, and half a second later all but fifty of its columns are the same numbers, further to
the left: a column depends on its window only where it is raised to the window's floor (`service.perception.mel`). So
the window goes as its shift against the one before, and the columns that differ, bit for bit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 100  # columns; an array with fewer is sent whole
_MIX = np.uint64(0x9E3779B97F4A7C15)  # an odd number whose powers spread the bits of a column


@dataclass(frozen=True, slots=True)
class Shifted:
    """Hold a window of sound as what differs from the one before.

    Attributes:
        rows: How often the window stands in the array, once for each face.
        number: Number of the window in its session.
        base: Number of the window that it is compared with; -1 for a window that is whole.
        shift: Columns by which the same sound lies further to the right in the window `base`.
        at: Columns that differ, (n,).
        columns: Their values, (n, bands).
    """

    rows: int
    number: int
    base: int
    shift: int
    at: NDArray[np.uint16]
    columns: NDArray[np.float32]


@dataclass(slots=True)
class SentSound:
    """Hold the window that a session has sent last."""

    window: NDArray[np.float32] | None = None  # (bands, columns)
    number: int = 0

    def packed(self, values: NDArray[np.float32]) -> Shifted | NDArray[np.float32]:
        """Return what to send for windows (n, 1, bands, columns); themselves where they are not all the same one."""
        if not (values == values[:1]).all():
            return values
        before, base = self.window, self.number
        self.window, self.number = values[0, 0].copy(), self.number + 1
        count = self.window.shape[1]
        if before is None or before.shape != self.window.shape:
            return Shifted(len(values), self.number, -1, 0, np.arange(count, dtype=np.uint16), self.window.T.copy())
        shift = _shift(before, self.window)
        differs = np.ones(count, bool)
        differs[: count - shift] = (before[:, shift:] != self.window[:, : count - shift]).any(axis=0)
        at = np.flatnonzero(differs).astype(np.uint16)
        return Shifted(len(values), self.number, base, shift, at, self.window.T[at])


@dataclass(slots=True)
class KeptSound:
    """Hold the window that a replica has received last of a session."""

    window: NDArray[np.float32] | None = None
    number: int = 0

    def unpacked(self, given: Shifted) -> NDArray[np.float32] | None:
        """Return the windows (n, 1, bands, columns); None if the one that they are compared with is not here."""
        window: NDArray[np.float32]
        if given.base < 0:
            window = np.empty(given.columns.T.shape, np.float32)
        elif self.window is None or given.base != self.number:
            return None
        else:
            window = np.empty_like(self.window)
            window[:, : window.shape[1] - given.shift] = self.window[:, given.shift :]
        window[:, given.at] = given.columns.T
        self.window, self.number = window, given.number
        return np.repeat(window[None, None], given.rows, axis=0)


def has_columns(values: NDArray[np.generic]) -> bool:
    """Return whether an array (n, 1, bands, columns) holds windows of sound."""
    return (
        values.ndim == 4 and values.dtype == np.float32 and len(values) > 0
        and values.shape[1] == 1 and values.shape[3] >= FEWEST
    )  # fmt: skip


def _shift(before: NDArray[np.float32], now: NDArray[np.float32]) -> int:
    """Return by how many columns `now` lies further to the left in `before`, by columns that both have; else 0."""
    old, new = _marks(before), _marks(now)
    count = len(new)
    for column in (count // 2, count // 4, 3 * count // 4, count // 8):
        found = np.flatnonzero(old[column:] == new[column])
        if len(found):
            return int(found[0])
    return 0


def _marks(window: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a number for each column, the same for the same column."""
    bits = np.ascontiguousarray(window).view(np.uint32).astype(np.uint64)
    weights = np.cumprod(np.full(len(bits), _MIX, np.uint64))
    return np.asarray((bits * weights[:, None]).sum(axis=0, dtype=np.uint64))
