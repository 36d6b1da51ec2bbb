"""The last n arrays of one shape, read as one array without copying. Owned by an adapter, one for each track."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class WindowRing:
    """Keep the last `length` values in memory that is allocated once; the first one stands for those before it.

    Each value is written twice, `length` places apart, so that the last values always lie side by side.
    """

    def __init__(self, length: int, first: NDArray[Any]) -> None:
        """Begin with `first` in every place."""
        self._length = length
        self._values = np.empty((2 * length, *first.shape), first.dtype)
        self._values[:] = first
        self._newest = 0  # place of the newest value, below `length`

    def push(self, value: NDArray[Any]) -> None:
        """Add a value, of the shape and type of the first."""
        self._newest = (self._newest + 1) % self._length
        self._values[self._newest] = self._values[self._newest + self._length] = value

    @property
    def window(self) -> NDArray[Any]:
        """Return (length, ...), the oldest first: a view, whose content changes with the next `push`."""
        return self._values[self._newest + 1 : self._newest + 1 + self._length]
