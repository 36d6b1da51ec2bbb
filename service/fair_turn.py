"""Turns for threads that all want to work: so many at a time, and first come, first served.

Whoever waits for something else meanwhile hands the turn on, and is first when it comes back: to finish what was begun
is what the next frames of that session wait for.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class FairTurn:
    """A semaphore that is handed to whoever waits longest.

    Python's own goes to whoever comes by first: a session that has its next frame already took it again before the one
    that had been woken got the interpreter's lock, and under load some sessions were read half as often as others.
    """

    def __init__(self, at_once: int) -> None:
        """`at_once`: how many may have it at the same time."""
        self._free = at_once
        self._lock = threading.Lock()  # held for as long as it takes to append, never while waiting
        self._waiting: deque[threading.Lock] = deque()
        self._back: deque[threading.Lock] = deque()  # that had it, and want it again

    def __enter__(self) -> None:
        self._take(self._waiting)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._back or self._waiting:
                (self._back or self._waiting).popleft().release()
            else:
                self._free += 1

    @contextmanager
    def away(self) -> Iterator[None]:
        """Somebody else's turn, for as long as whoever has it needs none."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self._take(self._back)

    def _take(self, queue: deque[threading.Lock]) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            queue.append(mine)
        mine.acquire()  # until whoever has the turn hands it on
