"""Markers from a Redis stream: each entry with a field `label` becomes a marker of one session, or of every open one.

`XADD STREAM * label stimulus_1 [session desk] [at 2026-11-29T20:15:00.250Z]`. Without `at` the moment is that of the
entry's ID, as Redis makes it by its own clock, whose distance from ours is measured. Entries from before the service's
start are not read. Redis may be away, at the start or later: it is asked again after longer and longer pauses, and what
was added meanwhile comes then, at its own time.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import RedisError, ResponseError

from models.errors import UserError
from service import metrics
from service.events import MARKER_LENGTH
from service.publish.draining import end
from service.publish.redis_problems import problem_of
from service.publish.redis_sink import FIRST_DELAY, LONGEST_DELAY, TIMEOUT, open_client
from service.redact import redact

SINK = "redis_markers"  # what refused markers and failed attempts are counted by
BATCH = 100  # entries a round trip
WAIT = 1000  # ms that Redis waits for an entry before it answers without one
MEASURE_EVERY = 60.0  # s between two measurements of Redis's clock

Mark = Callable[[str, datetime, str | None], object]  # label, wall clock, session; raises `UserError` if refused

log = logging.getLogger(__name__)


class RedisMarkers:
    """Read the stream on the running loop, from construction until `close`."""

    problem = None  # a stream of markers that cannot be read keeps nothing from working

    def __init__(self, url: str, stream: str, mark: Mark) -> None:
        """Call `mark` with each entry, in a thread. Raise `UserError` for a malformed URL."""
        self.label = redact(url)
        self._redis: Any = open_client(url)  # redis-py's types differ between its releases
        self._stream = stream
        self._mark = mark
        self._started = time.time()
        self._last: str | None = None  # ID of the newest entry that was read; None before the first contact
        self._ahead = 0.0  # s by which Redis's clock is ahead of ours
        self._unsure = 0.0  # s by which that may be wrong
        self._measured: float | None = None  # s, monotonic
        self._said = ""  # the newest problem, which is logged once
        self._refusing = False  # the newest marker was refused
        self._task = asyncio.create_task(self._run(), name="redis-markers")

    async def close(self) -> None:
        """Stop reading."""
        await end(self._task)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _run(self) -> None:
        delay = FIRST_DELAY
        while True:
            try:
                await self._read()
                delay = FIRST_DELAY
                if self._said:
                    log.info("%s answers again; markers are read from it", self.label)
                    self._said = ""
            except (RedisError, OSError) as error:
                metrics.PUBLISH_ERRORS.labels(SINK).inc()
                self._measured = None  # another server may answer next
                said = self._sentence(error)
                if said != self._said:
                    log.warning("no markers are read: %s", said)
                self._said = said
                await asyncio.sleep(delay * random.uniform(0.75, 1.25))
                delay = min(2 * delay, LONGEST_DELAY)

    async def _read(self) -> None:
        """Read what was added since the last entry, waiting for it for a moment."""
        await self._measure()
        if self._last is None:
            # The earliest that the start can have been by Redis's clock: an entry from just before it does less harm
            # than one from just after it that is not read.
            self._last = f"{int((self._started + self._ahead - self._unsure) * 1000)}-0"
        answer = await self._redis.xread({self._stream: self._last}, count=BATCH, block=WAIT)
        for _, entries in answer or []:
            for identity, fields in entries:
                await asyncio.to_thread(self._take, identity, fields)
                self._last = identity

    async def _measure(self) -> None:
        """Measure how far Redis's clock is ahead of ours, now and then."""
        now = time.monotonic()
        if self._measured is not None and now - self._measured < MEASURE_EVERY:
            return
        with contextlib.suppress(ResponseError):  # a user who may not ask for the time: taken as equal
            await self._redis.time()  # connects, which would be measured too
            before = time.time()
            seconds, microseconds = await self._redis.time()
            after = time.time()
            self._ahead = seconds + microseconds / 1e6 - (before + after) / 2
            self._unsure = (after - before) / 2 + 1e-3  # IDs have whole milliseconds
        self._measured = now

    def _take(self, identity: str, fields: Mapping[str, str]) -> None:
        try:
            if "label" not in fields:
                raise UserError(f"the entry {identity} has no field `label`; XADD {self._stream} * label NAME")
            label = "".join(letter if letter.isprintable() else " " for letter in fields["label"])[:MARKER_LENGTH]
            self._mark(label, self._moment(identity, fields.get("at")), fields.get("session"))
            self._refusing = False
        except UserError as error:
            metrics.PUBLISH_ERRORS.labels(SINK).inc()
            if not self._refusing:
                log.warning("markers from Redis are refused and counted: %s", error)
            self._refusing = True

    def _moment(self, identity: str, at: str | None) -> datetime:
        try:
            if at is not None:
                return datetime.fromisoformat(at)
            # The ID may be one that the sender made up, and a clock may be off: never later than now.
            return datetime.fromtimestamp(min(int(identity.partition("-")[0]) / 1e3 - self._ahead, time.time()), UTC)
        except (ValueError, OverflowError, OSError):
            shown = at if at is not None else identity
            raise UserError(f"{shown} is not a time; write ISO 8601 with its time zone, or leave `at` out") from None

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
            return f"the key {self._stream} of {self.label} is no stream; give --redis-markers another name"
        return problem_of(error, self.label, TIMEOUT).sentence
