"""Events of other services' sessions, read from their Redis streams for this service's own WebSocket clients.

Streams are read only while somebody listens here, and what is read goes to WebSocket clients alone: the service that
runs the session has stored it already. Landmarks are not in Redis, so such events have none.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any

import orjson

from service.events import Event
from service.publish.draining import end
from service.publish.hub import Hub
from service.publish.redis_sink import stream_name

SINK = "websocket"
BLOCK_MS = 500  # a read waits for events no longer than this, so that new sessions and clients are seen
LOOK_EVERY = 0.25  # s between looks for clients while there are none
BATCH = 128  # events a read
PAUSE = 1.0  # s after a failed read

log = logging.getLogger(__name__)


class Mirror:
    """Publish what other services write. Made and closed in the hub's loop; see `service.web.live.Sink`."""

    problem = None  # where Redis is away, the sink of this service's own events says so

    def __init__(self, url: str, hub: Hub, sessions: Callable[[], Collection[str]]) -> None:
        """Read the streams of those sessions that `sessions` names whenever it is asked."""
        from redis.asyncio import Redis

        self._redis: Any = Redis.from_url(url, decode_responses=True, socket_connect_timeout=2.0)
        self._hub = hub
        self._sessions = sessions
        self._after: dict[str, str] = {}  # stream -> id of the last entry that was read, while somebody listens
        self._published: dict[str, str] = {}  # stream -> id of the last entry that was published, also afterwards
        self._task = asyncio.create_task(self._run(), name="mirror")

    async def close(self) -> None:
        """Stop reading."""
        await end(self._task)
        await self._redis.aclose()

    async def _run(self) -> None:
        while True:
            try:
                await self._read()
            except Exception as error:  # Redis is away; its sink logs why
                log.warning("streams of other services cannot be read: %s", error)
                await asyncio.sleep(PAUSE)

    async def _read(self) -> None:
        wanted = {stream_name(name) for name in self._sessions()}
        for stream in self._published.keys() - wanted:
            del self._published[stream]
        if not wanted or not self._hub.count(SINK):
            self._after.clear()
            await asyncio.sleep(LOOK_EVERY)
            return
        for stream in [*self._after]:
            if stream not in wanted:
                del self._after[stream]
        for stream in wanted - set(self._after):  # the last event at once, as for one's own sessions
            last = await self._redis.xrevrange(stream, count=1)
            newest = last[0][0] if last else "0"
            if newest != self._published.get(stream):  # else the hub has given it to the client already
                self._publish(stream, last)
            self._after[stream] = newest
        answer = await self._redis.xread(self._after, count=BATCH, block=BLOCK_MS)
        # redis-py answers a list of pairs in RESP2, and a dictionary in RESP3, each with one list of entries.
        pairs = [(one, many[0]) for one, many in answer.items()] if isinstance(answer, dict) else answer
        for stream, entries in pairs:
            self._publish(stream, entries)
            self._after[stream] = entries[-1][0]

    def _publish(self, stream: str, entries: list[tuple[str, dict[str, str]]]) -> None:
        for number, fields in entries:
            if "event" in fields:
                self._hub.publish(_event(fields["event"]), only=SINK)
            self._published[stream] = number


def _event(text: str) -> Event:
    data = orjson.loads(text)
    return Event(
        session=data["session"],
        seq=data["seq"],
        incarnation=data["incarnation"],
        state=data["state"],
        detail=data.get("detail"),
        text=text,
        landmarks={},
    )
