"""Watches over a producer that may block in native code: its silence becomes a state, and stopping does not wait."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator

from service.capture.media import Item, State, StateChange
from service.redact import redact_text

log = logging.getLogger(__name__)

_WAITING = 16  # items that may wait when the reader lags; then the producer waits (4K pictures are 25 MB each)
_LOOK = 0.1  # seconds between looks at the stop flag and the clock

Produce = Callable[[Callable[[Item], bool], threading.Event], None]
"""Runs in a thread: hands items to its first argument, which answers false when nobody wants more; ends when its second
is set, or when it has nothing more to give."""


def watched(produce: Produce, stop: threading.Event, stall: float, name: str) -> Iterator[Item]:
    """What `produce` hands over, plus `StateChange` stalled after `stall` seconds of silence while live, and live
    again with the next frame or sound. Returns within `_LOOK` seconds of `stop`, however long the producer blocks.
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
            log.exception("source %s broke", name)
            give(StateChange(State.FAILED, redact_text(f"Reading broke: {type(error).__name__}: {error}")))
        give(None)

    threading.Thread(target=run, name=f"produce {name}", daemon=True).start()
    live, stalled, heard = False, False, time.monotonic()
    try:
        while not stop.is_set():
            try:
                item = waiting.get(timeout=_LOOK)
            except queue.Empty:
                if live and not stalled and time.monotonic() - heard > stall:
                    stalled = True
                    yield StateChange(State.STALLED, f"Nothing came for {stall:g} s")
                continue
            if item is None:
                return
            heard = time.monotonic()
            if isinstance(item, StateChange):
                live, stalled = item.state is State.LIVE, False
            elif stalled:
                stalled = False
                yield StateChange(State.LIVE, "Frames or sound came again")
            yield item
    finally:
        gone.set()
