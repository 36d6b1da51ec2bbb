"""How long to wait before trying again: exponential back-off with full jitter, so that a hundred sessions that lost one
server do not come back all at once (Brooker, "Exponential Backoff And Jitter", 2015).
"""

import random

FIRST = 0.5  # seconds, bound of the first wait
LAST = 30.0  # seconds, bound that is never exceeded
HEALTHY = 10.0  # seconds of health after which the next trouble starts from FIRST again


class Backoff:
    """Waits that double in bound with each failure."""

    def __init__(self, first: float = FIRST, last: float = LAST) -> None:
        self._first = first
        self._last = last
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait after one more failure: uniform from 0 to the bound, a tenth of the bound at least."""
        bound = min(self._last, self._first * 2 ** min(self._failures, 32))
        self._failures += 1
        return random.uniform(bound / 10, bound)

    def lasted(self, seconds: float) -> None:
        """The connection was healthy for `seconds` before it failed."""
        if seconds >= HEALTHY:
            self._failures = 0
