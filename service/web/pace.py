"""How many events may be on their way to one WebSocket reader, so that a slow one is never far behind.

The buffers of the kernels on both sides hold seconds of events, and what is in them cannot be dropped any more. So no
more is sent than the reader is known to take in a third of a second: pings between the events tell which of them it
has read. Whatever waits here meanwhile is dropped by its age.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

AHEAD = 0.3  # s worth of events that may be on their way to a reader that answers at once
MOST_AHEAD = 1.0  # s worth of events for a reader that answers slowly
FIRST_WINDOW, MOST = 4.0, 1024.0  # events: before anything is known of the reader, and at most
RATE_OVER, RATE_OVER_LEAST = 1.0, 0.25  # s over which the reader's rate is measured, and at least
PING_EVERY = 0.5  # s between pings where few events are sent


class Pace:
    """Count the events on their way to one reader, and wait while there are too many. Used by one task of the loop."""

    def __init__(self, ping: "Callable[[], asyncio.Future[None]]") -> None:
        """Measure with `ping`, which sends a ping and returns a future of its pong."""
        self._ping = ping
        self._sent = self._read = 0  # events
        self._pinged = 0  # events sent before the newest ping
        self._pinged_at = -PING_EVERY  # s, monotonic
        self._waiting_since: float | None = None  # when the oldest ping without a pong was sent
        self._unanswered = 0  # pings
        self._window = FIRST_WINDOW
        self._answers = deque([(time.monotonic(), 0)])  # of the last second: when each pong came, and events read
        self._shortest: float | None = None  # s from ping to pong
        self._ponged_at = time.monotonic()
        self._changed = asyncio.Event()

    @property
    def silent_for(self) -> float:
        """Return the seconds since the reader last answered, 0 where it owes no answer."""
        return 0.0 if not self._unanswered else time.monotonic() - max(self._ponged_at, self._waiting_since or 0.0)

    async def room(self) -> float:
        """Wait until one more event may be sent, and return the seconds that this took."""
        began = time.monotonic()
        while self._sent - self._read >= max(1.0, self._window):
            self._changed.clear()
            if not self._unanswered:  # nothing is on its way that would tell that the last events were read
                self.ask()
            await self._changed.wait()
        return time.monotonic() - began

    def sent(self) -> None:
        """Count an event that was sent just now, and send a ping after it if one is due."""
        self._sent += 1
        late = time.monotonic() - self._pinged_at >= PING_EVERY
        if late or self._sent - self._pinged >= max(1.0, self._window / 3):
            self.ask()

    def ask(self) -> None:
        """Send a ping."""
        now, count = time.monotonic(), self._sent
        self._pinged, self._pinged_at = count, now
        if not self._unanswered:
            self._waiting_since = now
        self._unanswered += 1
        self._ping().add_done_callback(lambda pong: self._answered(pong, count, now))

    def _answered(self, pong: "asyncio.Future[None]", count: int, pinged_at: float) -> None:
        self._unanswered -= 1
        if pong.cancelled():
            return
        now = time.monotonic()
        took = now - pinged_at
        self._shortest = took if self._shortest is None else min(self._shortest, took)
        self._read, self._ponged_at = max(self._read, count), now
        self._answers.append((now, self._read))
        while len(self._answers) > 2 and now - self._answers[1][0] > RATE_OVER:
            self._answers.popleft()
        since, read = self._answers[0]
        rate = (self._read - read) / max(now - since, RATE_OVER_LEAST)
        ahead = min(max(AHEAD, 3 * self._shortest), MOST_AHEAD)
        self._window = min(MOST, rate * ahead, self._window + 1)
        self._changed.set()
