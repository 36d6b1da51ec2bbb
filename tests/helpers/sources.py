"""Sources for tests: items that were made beforehand, handed on as fast as they are taken."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from service.capture.media import Frame, Item, State, StateChange


class Recorded:
    """Yields `items`, each frame only when `ready` says that the one before was taken: nothing is dropped."""

    label = "recorded:"

    def __init__(self, items: Iterable[Item], ready: Callable[[], bool] = lambda: True) -> None:
        self._items = items
        self._ready = ready

    def read(self, stop: threading.Event) -> Iterator[Item]:
        yield StateChange(State.LIVE)
        for item in self._items:
            if isinstance(item, Frame):
                while not self._ready() and not stop.is_set():
                    time.sleep(0.001)
                item = replace(item, entered=time.perf_counter(), captured_at=time.time())
            if stop.is_set():
                return
            yield item
        while not self._ready() and not stop.is_set():
            time.sleep(0.001)
        yield StateChange(State.ENDED)


def demo_items(seconds: float, *, fps: int = 30) -> list[Item]:
    """The demo's first `seconds`, every (30 / fps)th frame of it."""
    from service.capture.open import open_source

    items: list[Item] = []
    frames = 0
    for item in open_source("demo:", realtime=False).read(threading.Event()):
        if isinstance(item, StateChange):
            continue
        if item.t >= seconds:
            break
        if isinstance(item, Frame):
            frames += 1
            if (frames - 1) % (30 // fps):
                continue
            item = replace(item, image=item.image.copy())
        items.append(item)
    return items
