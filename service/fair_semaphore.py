"""A semaphore for the threads of sessions: a limited number work at a time, first come, first served.

A thread that waits for an engine releases the semaphore meanwhile, and is served first when it asks again, because the
next frames of its session wait for it.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class FairSemaphore:
    """Limit how many threads work at once, and serve the thread that waited longest first.

    Python's own semaphore goes to the thread that asks first after a release: a session that had its next frame
    already acquired it again before the thread that had been woken got the interpreter's lock, and under load some
    sessions were read half as often as others.
    """

    def __init__(self, at_once: int) -> None:
        """Begin with `at_once` free places."""
        self._free = at_once
        self._lock = threading.Lock()  # held to append to a queue, never while waiting
        self._waiting: deque[threading.Lock] = deque()
        self._back: deque[threading.Lock] = deque()  # those that released it for a while, and want it again

    def __enter__(self) -> None:
        self._acquire(self._waiting)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._back or self._waiting:
                (self._back or self._waiting).popleft().release()
            else:
                self._free += 1

    @contextmanager
    def released(self) -> Iterator[None]:
        """Release the semaphore for the time of the block, and acquire it again at its end."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self._acquire(self._back)

    def _acquire(self, queue: deque[threading.Lock]) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            queue.append(mine)
        mine.acquire()  # until another thread releases the semaphore
