"""Samples by absolute position in a preallocated ring buffer, in which the newest overwrite the oldest."""

import numpy as np
from numpy.typing import NDArray

from service.capture.media import SAMPLE_RATE


class SampleRing:
    """Keep the last `seconds` of a sample stream. Positions count all samples ever written; not thread-safe."""

    def __init__(self, seconds: float, rate: int = SAMPLE_RATE) -> None:
        """Allocate `seconds` * `rate` float32 samples at once."""
        self._data = np.zeros(max(1, round(seconds * rate)), np.float32)
        self.end = 0  # position after the newest sample

    @property
    def capacity(self) -> int:
        """Return the number of samples that are kept."""
        return len(self._data)

    @property
    def start(self) -> int:
        """Return the position of the oldest sample that is still kept."""
        return max(0, self.end - len(self._data))

    def write(self, samples: NDArray[np.float32]) -> int:
        """Append `samples` (n,) and return the position of the first of them."""
        first, size = self.end, len(self._data)
        self.end += len(samples)
        kept = samples[-size:]
        at = (self.end - len(kept)) % size
        head = min(len(kept), size - at)
        self._data[at : at + head] = kept[:head]
        self._data[: len(kept) - head] = kept[head:]
        return first

    def read(self, start: int, end: int) -> NDArray[np.float32]:
        """Return a copy (end - start,) of the samples from position `start` up to `end`.

        Raises `IndexError` where they are not written yet, or overwritten.
        """
        if not self.start <= start <= end <= self.end:
            raise IndexError(f"samples {start}..{end} are not within {self.start}..{self.end}")
        size = len(self._data)
        at, count = start % size, end - start
        head = min(count, size - at)
        out = np.empty(count, np.float32)
        out[:head] = self._data[at : at + head]
        out[head:] = self._data[: count - head]
        return out
