"""The hub: every event goes from the session's thread to each subscriber's own bounded queue on the event loop.

`publish` never waits: a queue that is full loses its oldest event, and the loss is counted. The loop is woken once per
batch of events, not once per event.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

from service import metrics
from service.events import Event, EventKind

QUEUE_LENGTH = 256  # events, about 8 s of one session at 30 events/s
QUEUE_BYTES = 16 << 20  # of JSON, however many events that is: twenty faces make large ones


class Subscription:
    """Hold one subscriber's queue: an async iterator of events that ends when the hub or the session is closed.

    One task of the hub's loop iterates it. `dropped` counts the events that were lost because it was too slow.
    """

    def __init__(
        self,
        hub: "Hub",
        session: str | None,
        maxlen: int,
        sink: str,
        landmarks: bool,
        kinds: Collection[EventKind] | None = None,
    ) -> None:
        self.session = session
        self.kinds = kinds
        self.sink = sink
        self.landmarks = landmarks
        self.dropped = 0
        self._hub = hub
        self._queue: deque[Event] = deque()
        self._queued_at: deque[float] = deque()  # s, monotonic, for each event of the queue
        self._bytes = 0  # of JSON in the queue
        self._maxlen = maxlen
        self._closed = False
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        """Return the number of events that wait."""
        return len(self._queue)

    @property
    def closed(self) -> bool:
        """Return whether nothing more will be queued."""
        return self._closed

    def wants(self, event: Event) -> bool:
        """Return whether `event` is of the session and kinds that were asked for."""
        return self.session in (None, event.session) and (self.kinds is None or event.kind in self.kinds)

    def text(self, event: Event) -> str:
        """Return the JSON of `event` in the form that this subscriber asked for."""
        return event.text_with_landmarks if self.landmarks else event.text

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        batch = await self.take(1)
        if not batch:
            raise StopAsyncIteration
        return batch[0]

    async def take(self, limit: int) -> list[Event]:
        """Return the oldest events, 1 to `limit` of them, as soon as there is one; none once closed and empty."""
        while (batch := self._hub._pop(self, limit)) is None:
            await self._ready.wait()
        return batch

    def drop_aged(self, seconds: float) -> None:
        """Drop the events that have waited for more than `seconds`, except the newest of each session."""
        self._hub._drop_aged(self, seconds)

    def discard(self, session: str) -> int:
        """Take the waiting events of `session` out of the queue and return their number."""
        return self._hub._discard(self, session)

    def close(self) -> None:
        """Take no further events; those that wait can still be taken."""
        self._hub._close([self])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Hub:
    """Hand events to all subscribers. `publish` and `forget` are called from any thread, the rest on `loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()  # held for as long as it takes to append, never while encoding or waiting
        self._subscriptions: list[Subscription] = []
        self._taps: list[Callable[[Event], None]] = []
        self._last: dict[str, Event] = {}
        self._woken = False  # a wake-up is on its way to the loop
        self._closed = False

    def publish(self, event: Event, *, only: str | None = None) -> None:
        """Hand `event` to every matching subscriber; never block. With `only`, to those of that sink alone."""
        # The longer form is encoded here, in the session's thread, so that the loop only moves finished text.
        if any(one.landmarks and one.session in (None, event.session) for one in [*self._subscriptions]):
            _ = event.text_with_landmarks
        with self._lock:
            if self._closed:
                return
            if event.kind == "affect":  # a later subscriber gets the session's present state, not an old marker
                self._last[event.session] = event
            for one in self._subscriptions:
                if one.wants(event) and only in (None, one.sink):
                    self._push(one, event)
            wake = bool(self._subscriptions) and not self._woken
            self._woken |= wake
        if only is None:
            for listener in self._taps:
                listener(event)
        if wake:
            self._call(self._wake)

    def tap(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event from now on, in the thread that publishes it; it must not wait."""
        self._taps.append(listener)

    def subscribe(
        self,
        session: str | None = None,
        maxlen: int = QUEUE_LENGTH,
        *,
        sink: str = "websocket",
        landmarks: bool = False,
        kinds: Collection[EventKind] | None = None,
    ) -> Subscription:
        """Return a subscription to one session, or to all; it holds the last event of each at once.

        Args:
            session: Name of the session; None for all.
            maxlen: Events that wait at most; the oldest are lost and counted.
            sink: Name of the sink, by which the metrics count its subscribers and losses.
            landmarks: Whether the text of the events is to have the 68 points of each face.
            kinds: The kinds of events that are wanted; None for all.
        """
        subscription = Subscription(self, session, maxlen, sink, landmarks, kinds)
        with self._lock:
            for event in self._last.values():
                if subscription.wants(event):
                    self._push(subscription, event)
            subscription._closed = self._closed
            if not self._closed:
                self._subscriptions.append(subscription)
                metrics.SUBSCRIBERS.labels(sink).inc()
        return subscription

    def count(self, sink: str) -> int:
        """Return the number of subscribers of that kind now."""
        with self._lock:
            return sum(1 for one in self._subscriptions if one.sink == sink)

    def erase(self, session: str) -> None:
        """Forget the last event of `session`; its subscriptions go on."""
        with self._lock:
            self._last.pop(session, None)

    def forget(self, session: str) -> None:
        """Forget the last event of a session that was removed, and end the subscriptions to it alone."""
        with self._lock:
            self._last.pop(session, None)
            ended = [one for one in self._subscriptions if one.session == session]
        self._close(ended)

    def close(self) -> None:
        """Take no further events; every subscription ends once it is empty."""
        with self._lock:
            self._closed = True
            self._last.clear()
            ended = [*self._subscriptions]
        self._close(ended)

    def _push(self, subscription: Subscription, event: Event) -> None:
        queue = subscription._queue
        queue.append(event)
        subscription._queued_at.append(time.monotonic())
        subscription._bytes += len(subscription.text(event))
        while len(queue) > subscription._maxlen or (subscription._bytes > QUEUE_BYTES and len(queue) > 1):
            self._drop_oldest(subscription)

    def _drop_oldest(self, subscription: Subscription) -> None:
        self._take_oldest(subscription)
        subscription.dropped += 1
        metrics.EVENTS_DROPPED.labels(subscription.sink).inc()

    def _drop_aged(self, subscription: Subscription, seconds: float) -> None:
        with self._lock:
            queue, times = subscription._queue, subscription._queued_at
            since = time.monotonic() - seconds
            if not times or times[0] >= since:
                return
            newest = {event.session: event for event in queue}
            kept = []
            while times and times[0] < since:
                if newest[queue[0].session] is queue[0]:
                    kept.append((queue[0], times[0]))
                    self._take_oldest(subscription)
                else:
                    self._drop_oldest(subscription)
            for event, at in reversed(kept):
                queue.appendleft(event)
                times.appendleft(at)
                subscription._bytes += len(subscription.text(event))

    def _discard(self, subscription: Subscription, session: str) -> int:
        with self._lock:
            waiting = len(subscription._queue)
            for _ in range(waiting):
                at = subscription._queued_at[0]
                event = self._take_oldest(subscription)
                if event.session != session:
                    subscription._queue.append(event)
                    subscription._queued_at.append(at)
                    subscription._bytes += len(subscription.text(event))
            return waiting - len(subscription._queue)

    def _take_oldest(self, subscription: Subscription) -> Event:
        event = subscription._queue.popleft()
        subscription._queued_at.popleft()
        subscription._bytes -= len(subscription.text(event))
        return event

    def _pop(self, subscription: Subscription, limit: int) -> list[Event] | None:
        """Return the oldest events; none once there will be none, and None while there are none yet."""
        with self._lock:  # queue and end are read together: an event may come just before the end
            queue = subscription._queue
            batch = [self._take_oldest(subscription) for _ in range(min(limit, len(queue)))]
            if not queue and not subscription._closed:
                subscription._ready.clear()
            return batch if batch or subscription._closed else None

    def _close(self, subscriptions: list[Subscription]) -> None:
        with self._lock:
            for one in subscriptions:
                one._closed = True
                if one in self._subscriptions:
                    self._subscriptions.remove(one)
                    metrics.SUBSCRIBERS.labels(one.sink).dec()
        self._call(self._set_ready, subscriptions)

    def _wake(self) -> None:
        with self._lock:
            self._woken = False
            waiting = [one for one in self._subscriptions if one._queue]
        self._set_ready(waiting)

    def _set_ready(self, subscriptions: list[Subscription]) -> None:
        for one in subscriptions:
            one._ready.set()

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        if asyncio._get_running_loop() is self._loop:  # already awake, and waking it would cost two system calls
            self._loop.call_soon(function, *arguments)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be woken
            self._loop.call_soon_threadsafe(function, *arguments)
