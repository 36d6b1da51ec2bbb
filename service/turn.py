"""Turns for threads that all want to work: so many at a time, and first come, first served."""

import threading
from collections import deque
from types import TracebackType


class FairTurn:
    """A semaphore that is handed to whoever waits longest.

    Python's own goes to whoever comes by first: a session that has its next frame already took it again before the one
    that had been woken got the interpreter's lock, and under load some sessions were read half as often as others."""

    def __init__(self, at_once: int) -> None:
        """`at_once`: how many may have it at the same time."""
        self._free = at_once
        self._lock = threading.Lock()  # held for as long as it takes to append, never while waiting
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # until whoever has the turn hands it on

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
