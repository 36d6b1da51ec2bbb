"""Events into Redis Streams: `XADD affect:{session} MAXLEN ~ 10000 * event <json>`, one stream a session.

Redis may be away, at the start or later: events wait in a bounded buffer (the oldest are lost and counted when it
overflows) and are sent in order once it answers again. An event whose answer was lost with the connection is looked up
before it is sent again, so that none is stored twice. Each stream has transactions of its own, because a Redis Cluster
takes none that spans several keys.
"""

import asyncio
import contextlib
import logging
import random
import time
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from models.errors import UserError
from service import metrics
from service.events import Event
from service.publish.draining import end
from service.publish.hub import Hub
from service.publish.redis_problems import NO_MULTI, REASONS, RedisProblem, problem_of, wrong_type
from service.redact import check_address, redact, redact_setting
from service.register import Unavailable

SINK = "redis"
STREAM_LENGTH = 10_000  # entries kept in a stream, about; 5 min of one session at 30 events/s
TTL = 3600  # s that a stream outlives its last event
BUFFER = 8192  # events kept while Redis is away: 4 min of one session; the hub bounds their bytes
BATCH = 128  # events a round trip
TIMEOUT = 5.0  # s for an answer
CONNECT_TIMEOUT = 2.0  # s
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  # s between attempts, doubling, with jitter
PING_PERIOD = 5.0  # s without events after which Redis is asked whether it is there
DRAIN_TIMEOUT = 2.0  # s that closing waits for what is buffered
_WRONG_TYPE = "WRONGTYPE"  # how Redis begins the refusal of a command for a key of another type
_OVER = ("ended", "failed")  # states after which a session has no more events

log = logging.getLogger(__name__)


class RedisSink:
    """Subscribe to the hub and write to Redis until closed. Made and used on the hub's loop."""

    def __init__(self, url: str, hub: Hub, *, ttl: int = TTL, buffer: int = BUFFER) -> None:
        """Begin to write; an unreachable server is no error. Raise `UserError` for a malformed URL.

        Args:
            url: Address of the server, redis://, rediss:// or unix://.
            hub: Where the events come from.
            ttl: Seconds after which a stream without new events is removed; 0 keeps it.
            buffer: Events kept while Redis is away.
        """
        self.label = redact(url)
        self._redis: Any = open_client(url)  # redis-py's types differ between its releases
        self._ttl = ttl
        self._subscription = hub.subscribe(maxlen=buffer, sink=SINK)
        self._problem: RedisProblem | None = RedisProblem("unreachable", f"{self.label} has not answered yet")
        self._blocked: set[str] = set()  # streams whose key holds something else
        self._renewed: dict[str, float] = {}  # stream -> s, monotonic, when its time to live was set
        self._transactions = True  # Redis lets this user run MULTI
        self._stay = False  # Redis refuses to let streams expire
        self._unsure = False  # the last transaction may have been stored although its answer did not come
        self._connected_before = False
        self._batch: list[Event] = []  # taken from the subscription and not known to be stored
        self._using = asyncio.Lock()  # held while a command is on its way: there is one connection
        self._closing = asyncio.Event()
        for reason in REASONS:
            metrics.SINK_PROBLEM.labels(SINK, reason).set(0)
        self._task = asyncio.create_task(self._run(), name="redis-sink")

    @property
    def problem(self) -> str | None:
        """Return why events do not reach Redis now, as a sentence without credentials; None if they do."""
        if self._problem is not None:
            waiting = f"{len(self._subscription)} events wait, {self._subscription.dropped} were lost"
            return f"{self._problem.sentence}; {waiting}"
        return wrong_type(self.label, sorted(self._blocked)).sentence if self._blocked else None

    @property
    def name(self) -> str:
        """Return the name under which an erasure's answer counts events."""
        return SINK

    @property
    def retention(self) -> str:
        """Return what is kept, where and for how long, in a sentence for the people in view."""
        end = f"until {self._ttl} seconds after the last of them" if self._ttl else "until they are erased"
        return f"The newest {STREAM_LENGTH:,} or so readings of each session are kept in a database (Redis) {end}."

    async def erase(self, session: str) -> int:
        """Remove the session's stream, and what waits to be written to it; return the number of events.

        A key of that name that holds something else is not ours, and stays. Raise `Unavailable` where Redis does not
        answer; nothing is removed then.
        """
        stream = stream_name(session)
        async with self._using:
            try:
                stored = await self._redis.xlen(stream) if await self._redis.type(stream) == "stream" else 0
                if stored:
                    await self._redis.delete(stream)
            except (RedisError, OSError) as error:
                sentence = self._problem_of(error).sentence
                raise Unavailable(f"nothing was erased: {sentence}; try again later") from None
            self._renewed.pop(stream, None)
            taken = len(self._batch)
            self._batch[:] = [event for event in self._batch if event.session != session]
            return int(stored) + taken - len(self._batch) + self._subscription.discard(session)

    async def close(self) -> None:
        """Write what is buffered if Redis answers within `DRAIN_TIMEOUT`; the rest is lost and counted."""
        self._subscription.close()
        self._closing.set()
        await asyncio.wait([self._task], timeout=DRAIN_TIMEOUT)
        await end(self._task)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _run(self) -> None:
        delay = FIRST_DELAY
        try:
            while True:
                try:
                    self._batch = self._batch or await self._next()
                    if not self._batch and self._subscription.closed:
                        return
                    async with self._using:
                        if self._batch:
                            await self._store(self._batch)
                        else:  # nothing else would show whether Redis is there; a refusal shows it too
                            with contextlib.suppress(NoPermissionError):
                                await self._redis.ping()
                except (RedisError, OSError) as error:
                    self._failed(error)
                    await self._pause(delay * random.uniform(0.5, 1.0))
                    delay = min(2 * delay, LONGEST_DELAY)
                else:
                    delay = FIRST_DELAY
                    self._answered()
        finally:
            lost = len(self._batch) + len(self._subscription)
            if lost:
                metrics.EVENTS_DROPPED.labels(SINK).inc(lost)
                log.warning("closed with %d events that %s did not take", lost, self.label)

    async def _next(self) -> list[Event]:
        """Return the next events; none if there are none for a while, or once the subscription is closed and empty."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PING_PERIOD if self._problem is None else 0):
                return await self._subscription.take(BATCH)
        return []

    async def _store(self, batch: list[Event]) -> None:
        """Store `batch`, in order for each session, and remove from it what is stored or refused for good.

        Raise `RedisError` or `OSError` if Redis takes no events now; what is left in `batch` is not known to be stored.
        """
        if self._unsure:
            batch[:] = await self._missing(batch)
            self._unsure = False
        for session in dict.fromkeys(event.session for event in batch):
            events = [event for event in batch if event.session == session]
            stored = await self._store_stream(stream_name(session), events)
            batch[:] = [event for event in batch if event.session != session]
            if stored:
                await self._renew(stream_name(session), over=events[-1].state in _OVER)

    async def _store_stream(self, stream: str, events: list[Event]) -> bool:
        """Store the events of one session; return whether its key is a stream, without which they are lost."""
        # A transaction: either all of them are stored or none, so that order survives a failure in the middle.
        async with self._redis.pipeline(transaction=self._transactions) as pipeline:
            for event in events:
                pipeline.xadd(stream, {"event": event.text}, maxlen=STREAM_LENGTH, approximate=True)
            self._unsure = True
            try:
                answers = await pipeline.execute(raise_on_error=False)
            except ResponseError as error:
                if self._transactions and NO_MULTI in str(error):  # each event was stored or refused by itself
                    self._transactions = False
                    log.warning("%s; events are stored without transactions", self._problem_of(error).sentence)
                    return await self._store_stream(stream, await self._missing(events))
                self._unsure = False  # it was refused as a whole
                raise
        self._unsure = False
        refused = [answer for answer in answers if isinstance(answer, ResponseError)]
        if not refused:
            self._unblock(stream)
            return True
        if not str(refused[0]).startswith(_WRONG_TYPE):
            self._unsure = not self._transactions  # some may be stored
            raise refused[0]
        metrics.PUBLISH_ERRORS.labels(SINK).inc(len(refused))
        metrics.EVENTS_DROPPED.labels(SINK).inc(len(refused))
        if events[-1].state in _OVER:
            self._unblock(stream)  # no more events come for it
        elif stream not in self._blocked:
            self._blocked.add(stream)
            metrics.SINK_PROBLEM.labels(SINK, "wrong_type").set(len(self._blocked))
            log.warning("%s", wrong_type(self.label, [stream]).sentence)
        return False

    def _unblock(self, stream: str) -> None:
        if stream in self._blocked:
            self._blocked.discard(stream)
            metrics.SINK_PROBLEM.labels(SINK, "wrong_type").set(len(self._blocked))
            log.info("events for %s are not refused any more", stream)

    async def _renew(self, stream: str, *, over: bool) -> None:
        """Let a stream that got events live for another `ttl` seconds; only after a quarter of it, or at the end.

        The streams of a service that was killed expire too. A stream is renewed only after events were stored in it, so
        that no key of other people is ever given a time to live.
        """
        now = time.monotonic()
        renewed = self._renewed.get(stream)
        if renewed is not None and not over and (not self._ttl or now - renewed < self._ttl / 4):
            return
        try:
            await (self._redis.expire(stream, self._ttl) if self._ttl else self._redis.persist(stream))
        except ResponseError as error:  # the events are stored all the same
            if not self._stay:
                log.warning("%s; streams stay until they are removed", self._problem_of(error).sentence)
            self._stay = True
        if over:
            self._renewed.pop(stream, None)
        else:
            self._renewed[stream] = now

    async def _missing(self, batch: list[Event]) -> list[Event]:
        """Return those of `batch` that are not at the end of their streams yet."""
        stored: set[tuple[str, str]] = set()
        for session in {event.session for event in batch}:
            with contextlib.suppress(ResponseError):  # not a stream: nothing is stored there
                entries = await self._redis.xrevrange(stream_name(session), count=len(batch))
                stored.update((session, fields["event"]) for _, fields in entries if "event" in fields)
        return [event for event in batch if (event.session, event.text) not in stored]

    def _answered(self) -> None:
        if self._problem is not None:
            log.info("%s answers and takes events", self.label)
            metrics.SINK_PROBLEM.labels(SINK, self._problem.reason).set(0)
            if self._connected_before:
                metrics.RECONNECTS.labels(SINK).inc()
        self._connected_before = True
        self._problem = None

    def _failed(self, error: Exception) -> None:
        metrics.PUBLISH_ERRORS.labels(SINK).inc()
        if isinstance(error, (RedisConnectionError, RedisTimeout, OSError)):
            self._renewed.clear()  # another server may answer next
        problem = self._problem_of(error)
        if self._problem is None or problem != self._problem:
            log.warning("%s", problem.sentence)
        if self._problem is not None:
            metrics.SINK_PROBLEM.labels(SINK, self._problem.reason).set(0)
        metrics.SINK_PROBLEM.labels(SINK, problem.reason).set(1)
        self._problem = problem

    def _problem_of(self, error: Exception) -> RedisProblem:
        return problem_of(error, self.label, TIMEOUT)

    async def _pause(self, delay: float) -> None:
        """Wait `delay` seconds; no longer than the first delay once closing."""
        if self._closing.is_set():
            await asyncio.sleep(min(delay, FIRST_DELAY))
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), delay)


def stream_name(session: str) -> str:
    """Return the key of a session's stream."""
    return f"affect:{session}"


def check_url(url: str) -> None:
    """Raise `UserError` if `url` is malformed, before anything is started."""
    open_client(url)


def open_client(url: str) -> Any:
    """Return a client that connects when first used. Raise `UserError` for a malformed URL."""
    scheme = url.partition("://")[0]
    if scheme not in ("redis", "rediss", "unix"):
        raise _unusable(url, "it begins with none of redis://, rediss:// and unix://")
    try:
        if scheme != "unix":
            check_address(url)
        client: Any = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=CONNECT_TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # the sink itself retries, in order
            max_connections=1,
        )
        client.connection_pool.make_connection()  # complains of unknown options in the query
    except UserError as error:
        raise UserError(f"Redis URL: {error}") from None
    except (ValueError, TypeError):  # whose message quotes the URL, password included
        raise _unusable(url, "an option after its ? is not known, or has a value that it cannot have") from None
    database = urlsplit(url).path.strip("/")
    if scheme != "unix" and database and not database.isdigit():
        raise _unusable(url, "the database is no number")
    return client


def _unusable(url: str, reason: str) -> UserError:
    return UserError(
        f"Redis URL {redact_setting(url)} cannot be used ({reason}); write it like redis://:password@host:6379/0"
    )
