"""Reads events in another program: `async for event in stream(...)`, over the WebSocket or over Redis Streams.

Both reconnect by themselves for ever, with growing pauses, and say so in the log; what cannot get better by waiting (a
wrong token, a malformed address) is raised. Needs nothing of this package but this file, `websockets` and `redis`.
"""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

log = logging.getLogger(__name__)

Event = dict[str, Any]  # schema affect/1; GET /v1/schema describes it

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds between attempts, doubling
ANSWER_WITHIN = 10.0  # seconds for a connection to open
BLOCK = 5.0  # seconds that Redis waits for new entries before it answers that there are none
BATCH = 100  # entries of one answer
MAX_EVENT = 4 << 20  # bytes; twenty faces with landmarks need a tenth of it
REFUSED = frozenset({400, 401, 403, 404})  # HTTP statuses that waiting does not change
SESSION_CLOSED, POLICY = 1000, 1008  # close codes: the session is over; this client is not wanted


class Refused(Exception):
    """The server will not have this client, or the address is none; the text says why and what to do."""


async def stream(
    url: str = "http://127.0.0.1:8000",
    *,
    session: str | None = None,
    token: str | None = None,
    landmarks: bool = False,
) -> AsyncIterator[Event]:
    """Events of `session`, or of all sessions, as they happen; the last one of each comes at once.

    Ends when `session` is closed; without `session`, never. A session that is not open yet is waited for. Events that
    pass while the connection is away are lost (`seq` shows it); use Redis where none may be. Raises `Refused`.
    """
    address = _address(url, session, landmarks)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    last: dict[str, Event] = {}  # by session: the server repeats them after a reconnect
    pauses = _pauses()
    while True:
        try:
            async with connect(
                address, additional_headers=headers, open_timeout=ANSWER_WITHIN, max_size=MAX_EVENT
            ) as socket:
                async for text in socket:
                    pauses = _pauses()
                    event = json.loads(text)
                    if event != last.get(event["session"]):
                        last[event["session"]] = event
                        yield event
            code, why = socket.close_code, socket.close_reason
        except InvalidStatus as error:
            if error.response.status_code in REFUSED:
                raise Refused(_sentence(error)) from None
            code, why = None, str(error)
        except (InvalidURI, ValueError) as error:
            raise Refused(f"{url!r} is no address of a server ({error}); write http://HOST:PORT") from None
        except ConnectionClosed as error:
            code, why = (error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else (None, str(error))
        except (OSError, TimeoutError, WebSocketException) as error:
            code, why = None, str(error) or type(error).__name__
        if code == SESSION_CLOSED and session is not None:
            return
        if code == POLICY:
            raise Refused(why or "the server does not take this client")
        await _pause(pauses, why or "the connection was closed")


async def redis_stream(
    url: str = "redis://127.0.0.1:6379/0", *, session: str, after: str = "$"
) -> AsyncIterator[tuple[str, Event]]:
    """(id, event) of `session` from the Redis Stream that the service writes; none is skipped or repeated.

    `after`: "$" begins with what comes from now on, "0" with the oldest event that is kept, an id with the next one
    after it: remember the last id to go on where you stopped. Raises `Refused` for a malformed URL or wrong password.
    """
    try:
        redis: Any = Redis.from_url(url, decode_responses=True, socket_timeout=BLOCK + ANSWER_WITHIN)
    except ValueError as error:
        raise Refused(f"the Redis URL is malformed ({error}); write redis://HOST:PORT/DB") from None
    key = f"affect:{session}"
    pauses = _pauses()
    async with contextlib.aclosing(redis):
        while True:
            try:
                if after == "$":  # made definite, so that nothing is missed while the connection is away
                    newest = await redis.xrevrange(key, count=1)
                    after = newest[0][0] if newest else "0"
                answer = await redis.xread({key: after}, count=BATCH, block=round(BLOCK * 1000))
            except (AuthenticationError, ResponseError) as error:
                raise Refused(f"Redis refuses: {error}") from None
            except (RedisError, OSError) as error:
                await _pause(pauses, str(error))
                continue
            pauses = _pauses()
            for _, entries in answer.items() if isinstance(answer, dict) else answer:
                for after, fields in entries:  # the last id is where to go on
                    yield after, json.loads(fields["event"])


def _address(url: str, session: str | None, landmarks: bool) -> str:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path.rstrip("/").removesuffix("/v1/stream") + "/v1/stream"
    wanted = {"session": session} if session is not None else {}
    query = urlencode(wanted | ({"landmarks": "1"} if landmarks else {}))
    return f"{scheme}://{parts.netloc}{path}?{query}"


def _sentence(error: InvalidStatus) -> str:
    """What the server says of a refused connection."""
    try:
        return str(json.loads(error.response.body or b"")["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the server answers {error.response.status_code}; is this its address?"


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, LONGEST_PAUSE)


async def _pause(pauses: Iterator[float], why: str) -> None:
    pause = next(pauses)
    log.info("the stream is away (%s); trying again in %.1f s", why, pause)
    await asyncio.sleep(pause)
