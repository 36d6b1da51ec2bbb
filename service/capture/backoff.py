"""How long to wait before trying again: exponential back-off with full jitter.

The jitter keeps a hundred sessions that lost one server from coming back all at once (Brooker, "Exponential Backoff And
Jitter", 2015).
"""

import random

FIRST = 0.5  # seconds, bound of the first wait
LAST = 30.0  # seconds, bound that is never exceeded
HEALTHY = 10.0  # seconds of health after which the next trouble starts from FIRST again


class Backoff:
    """Give waits whose upper bound doubles with each failure."""

    def __init__(self, first: float = FIRST, last: float = LAST) -> None:
        self._first = first
        self._last = last
        self._failures = 0

    def next(self) -> float:
        """Return seconds to wait after one more failure, uniform between a tenth of the bound and the bound."""
        bound = min(self._last, self._first * 2 ** min(self._failures, 32))
        self._failures += 1
        return random.uniform(bound / 10, bound)

    def lasted(self, seconds: float) -> None:
        """Note that the connection was healthy for `seconds` before it failed; 10 s or more reset the bound."""
        if seconds >= HEALTHY:
            self._failures = 0
