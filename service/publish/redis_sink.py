"""Events into Redis Streams: `XADD affect:{session} MAXLEN ~ 10000 * event <json>`, one stream a session.

Redis may be away, at the start or later: events wait in a bounded buffer (the oldest are lost and counted when it
overflows) and go out in order once it answers again. An event whose answer was lost with the connection is looked up
before it is sent again, so that nothing comes twice.
"""

import asyncio
import contextlib
import logging
import random
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from engines.errors import UserError
from service import metrics
from service.events import Event
from service.publish.hub import Hub
from service.redact import redact

SINK = "redis"
STREAM_LENGTH = 10_000  # entries kept a stream, about; 5 min of one session at 30 events/s
BUFFER = 8192  # events kept while Redis is away: 4 min of one session; the hub bounds their bytes
BATCH = 128  # events a round trip
TIMEOUT = 5.0  # s for an answer
CONNECT_TIMEOUT = 2.0  # s
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  # s between attempts, doubling, with jitter
PING_PERIOD = 5.0  # s without events until Redis is asked whether it is there
DRAIN_TIMEOUT = 2.0  # s that closing waits for what is buffered

log = logging.getLogger(__name__)


class RedisSink:
    """Subscribes to the hub and writes to Redis until closed. Made and used on the hub's loop."""

    def __init__(self, url: str, hub: Hub, *, buffer: int = BUFFER) -> None:
        """Raises `UserError` for a URL that cannot be one; an unreachable server is no error."""
        self.label = redact(url)
        self._redis: Any = open_client(url)  # redis-py's types differ between its releases
        self._subscription = hub.subscribe(maxlen=buffer, sink=SINK)
        self._problem: str | None = f"{self.label} has not answered yet"
        self._unsure = False  # the last batch may have been stored although its answer did not come
        self._connected_before = False
        self._closing = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="redis-sink")

    @property
    def problem(self) -> str | None:
        """Why events do not reach Redis now, as a sentence without credentials; None when they do."""
        if self._problem is None:
            return None
        return f"{self._problem}; {len(self._subscription)} events wait, {self._subscription.dropped} were lost"

    async def close(self) -> None:
        """Writes what is buffered if Redis answers within `DRAIN_TIMEOUT`; the rest is lost and counted."""
        self._subscription.close()
        self._closing.set()
        _, late = await asyncio.wait([self._task], timeout=DRAIN_TIMEOUT)
        for task in late:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _run(self) -> None:
        batch: list[Event] = []
        delay = FIRST_DELAY
        try:
            while True:
                try:
                    batch = batch or await self._next()
                    if batch:
                        await self._store(batch)
                        batch = []
                    elif self._subscription.closed:
                        return
                    else:  # nothing else would show whether Redis is there
                        await self._redis.ping()
                except (RedisError, OSError) as error:
                    self._failed(error)
                    await self._pause(delay * random.uniform(0.5, 1.0))
                    delay = min(2 * delay, LONGEST_DELAY)
                else:
                    delay = FIRST_DELAY
                    self._answered()
        finally:
            lost = len(batch) + len(self._subscription)
            if lost:
                metrics.EVENTS_DROPPED.labels(SINK).inc(lost)
                log.warning("closed with %d events that %s did not take", lost, self.label)

    async def _next(self) -> list[Event]:
        """The next events; none when there are none for a while, or once the subscription is closed and empty."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PING_PERIOD if self._problem is None else 0):
                return await self._subscription.take(BATCH)
        return []

    async def _store(self, batch: list[Event]) -> None:
        """Stores `batch` in order. Raises `RedisError` or `OSError` with none of it stored, or the answer lost."""
        if self._unsure:
            batch = await self._missing(batch)
            self._unsure = False
        if not batch:
            return
        # A transaction: either all of them are stored or none, so that order survives a failure in the middle.
        async with self._redis.pipeline(transaction=True) as pipeline:
            for event in batch:
                pipeline.xadd(stream_name(event.session), {"event": event.text}, maxlen=STREAM_LENGTH, approximate=True)
            self._unsure = True
            answers = await pipeline.execute(raise_on_error=False)
        self._unsure = False
        for event, answer in zip(batch, answers, strict=True):
            if isinstance(answer, ResponseError):  # this one key is not a stream
                metrics.PUBLISH_ERRORS.labels(SINK).inc()
                metrics.EVENTS_DROPPED.labels(SINK).inc()
                log.warning("an event did not go into %s: %s", stream_name(event.session), answer)

    async def _missing(self, batch: list[Event]) -> list[Event]:
        """Those of `batch` that are not at the end of their streams yet."""
        stored: set[tuple[str, str]] = set()
        for session in {event.session for event in batch}:
            with contextlib.suppress(ResponseError):  # not a stream: nothing is stored there
                entries = await self._redis.xrevrange(stream_name(session), count=len(batch))
                stored.update((session, fields["event"]) for _, fields in entries if "event" in fields)
        return [event for event in batch if (event.session, event.text) not in stored]

    def _answered(self) -> None:
        if self._problem is not None:
            log.info("%s answers", self.label)
            if self._connected_before:
                metrics.RECONNECTS.labels(SINK).inc()
        self._connected_before = True
        self._problem = None

    def _failed(self, error: Exception) -> None:
        metrics.PUBLISH_ERRORS.labels(SINK).inc()
        problem = f"{self.label} does not answer: {error}"
        if problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem

    async def _pause(self, delay: float) -> None:
        """Waits `delay` seconds; no longer than the first delay once closing."""
        if self._closing.is_set():
            await asyncio.sleep(min(delay, FIRST_DELAY))
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), delay)


def stream_name(session: str) -> str:
    """Key of a session's stream."""
    return f"affect:{session}"


def check_url(url: str) -> None:
    """Raises `UserError` if `url` is malformed, before anything is started."""
    open_client(url)


def open_client(url: str) -> Any:
    """A client that connects when first used. Raises `UserError` for a malformed URL."""
    try:
        client: Any = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=CONNECT_TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # the sink itself retries, in order
            max_connections=1,
        )
        client.connection_pool.make_connection()  # complains of unknown options in the query
        parts = urlsplit(url)
        if parts.scheme != "unix" and not parts.hostname:
            raise ValueError("no host")
        if parts.scheme != "unix" and not parts.path.strip("/").isdigit() and parts.path.strip("/"):
            raise ValueError("the database is no number")
    except (ValueError, TypeError) as error:
        reason = str(error).removeprefix("AbstractConnection.__init__() ")
        raise UserError(
            f"Redis URL {redact(url)} cannot be used ({reason}); write it like redis://:password@host:6379/0"
        ) from None
    return client
