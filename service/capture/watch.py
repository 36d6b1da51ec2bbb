"""A watch over a producer that may block in native code: its silence becomes a state, and stopping does not wait."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context

from service.capture.media import Frame, Item, State, StateChange
from service.redact import traced

log = logging.getLogger(__name__)

_WAITING = 16  # items that may wait when the reader lags; then the producer waits (4K pictures are 25 MB each)
_LOOK = 0.1  # seconds between looks at the stop flag and the clock

Produce = Callable[[Callable[[Item], bool], threading.Event], None]
"""A function that runs in a thread: it hands items to its first argument, which answers false when no more are wanted,
and returns when its second is set, or when it has nothing more to give."""


def watched(produce: Produce, stop: threading.Event, stall: float, name: str) -> Iterator[Item]:
    """Yield what `produce` hands over, plus `StateChange` stalled after `stall` seconds without a frame while live.

    Where there never was a frame, sound counts instead. Live is said again with the next frame. Returns within `_LOOK`
    seconds of `stop`, however long the producer blocks.
    """
    waiting: queue.Queue[Item | None] = queue.Queue(_WAITING)
    gone = threading.Event()

    def give(item: Item | None) -> bool:
        while not gone.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=_LOOK)
                return True
        return False

    def run() -> None:
        try:
            produce(give, gone)
        except Exception as error:  # the thread's outermost frame
            log.error("source %s broke: %s", name, traced(error))
            give(StateChange(State.FAILED, f"Reading broke ({type(error).__name__}); the log tells where"))
        give(None)

    context = copy_context()  # whose session log lines are marked with
    threading.Thread(target=context.run, args=(run,), name=f"produce {name}", daemon=True).start()
    live = stalled = filmed = False
    came = time.monotonic()  # when the newest frame came; the newest sound, where there never was a frame
    try:
        while not stop.is_set():
            item: Item | None = None
            with contextlib.suppress(queue.Empty):
                item = waiting.get(timeout=_LOOK)
                if item is None:
                    return
            if isinstance(item, StateChange):
                live, stalled, came = item.state is State.LIVE, False, time.monotonic()
            elif isinstance(item, Frame) or (item is not None and not filmed):
                filmed |= isinstance(item, Frame)
                came = time.monotonic()
                if stalled:
                    stalled = False
                    yield StateChange(State.LIVE, "Frames came again" if filmed else "Sound came again")
            elif live and not stalled and time.monotonic() - came > stall:
                stalled = True
                yield StateChange(State.STALLED, f"No {'frame' if filmed else 'sound'} came for {stall:g} s")
            if item is not None:
                yield item
    finally:
        gone.set()
