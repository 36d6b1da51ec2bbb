"""The pace of recordings: items are handed on at the speed at which they happened."""

import threading
import time

_LATE = 2.0  # seconds: further behind than this (a suspended machine), the pace starts anew instead of rushing


class Pace:
    """Hold items back until their time on the monotonic clock has come; late ones pass at once."""

    def __init__(self, realtime: bool) -> None:
        """Hold nothing back unless `realtime`."""
        self._realtime = realtime
        self._origin: float | None = None  # monotonic seconds at t = 0

    def wait(self, t: float, stop: threading.Event) -> bool:
        """Return true once session time `t` has come; return false at once when `stop` is set."""
        if self._realtime:
            now = time.monotonic()
            if self._origin is None or now - self._origin - t > _LATE:
                self._origin = now - t
            ahead = self._origin + t - now
            if ahead > 0:
                return not stop.wait(ahead)
        return not stop.is_set()
