"""Read events in another program: `async for event in stream(...)`, over the WebSocket or over Redis Streams.

Both generators reconnect without end, with growing pauses, and log each attempt. What waiting cannot mend (a wrong
token, a malformed address) is raised as `Refused`. The file needs the standard library and, when a generator starts,
`websockets` or `redis`; it imports them (and asyncio) in the functions, so that importing the package stays quick.
"""

import contextlib
import json
import logging
import random
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from affectstream.event import Event

if TYPE_CHECKING:
    from websockets.exceptions import InvalidStatus

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds between attempts, doubling
ANSWER_WITHIN = 10.0  # seconds for a connection to open
BLOCK = 5.0  # seconds that Redis waits for new entries before it answers that there are none
BATCH = 100  # entries of one answer
MAX_EVENT = 4 << 20  # bytes; twenty faces with landmarks need a tenth of it
REFUSED = frozenset({400, 401, 403, 404})  # HTTP statuses that waiting does not change
# Close codes: the session is over; this client is not wanted; there is no such session.
SESSION_CLOSED, POLICY, UNKNOWN_SESSION = 1000, 1008, 4404


class Refused(Exception):
    """Tell that the server refuses this client, or that the address is malformed; the text says what to do."""


async def stream(
    url: str = "http://127.0.0.1:8000",
    *,
    session: str | None = None,
    token: str | None = None,
    landmarks: bool = False,
    wait: bool = True,
) -> AsyncGenerator[Event, None]:
    """Yield the events of `session`, or of all sessions, as they happen; begin with the last event of each.

    End when `session` is closed; without `session`, never. Events that pass while the connection is down are lost,
    which shows as a gap in `seq`; use `redis_stream` where none may be lost. Raise `Refused` for a wrong token, for a
    malformed address, and without `wait` for a service or session that is not there.

    Args:
        url: Address of the service, as `http://HOST:PORT` or `https://HOST/PATH`.
        session: Name of one session.
        token: The service's token, where it has one.
        landmarks: Whether each face carries its 68 points, in pixels.
        wait: Whether to wait for a service that does not answer yet, or a session that is not open yet. Once connected,
            a connection that is lost is always opened again.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

    address = _address(url, session, landmarks)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    last: dict[str, Event] = {}  # by session, because the server repeats the last event after a reconnect
    pauses = _pauses()
    while True:
        try:
            async with connect(
                address, additional_headers=headers, open_timeout=ANSWER_WITHIN, max_size=MAX_EVENT
            ) as socket:
                async for text in socket:
                    wait = True
                    pauses = _pauses()
                    event: Event = json.loads(text)
                    if event != last.get(event["session"]):
                        last[event["session"]] = event
                        yield event
            code, why = socket.close_code, socket.close_reason
        except InvalidStatus as error:
            if error.response.status_code in REFUSED:
                raise Refused(_sentence(error)) from None
            code, why = None, str(error)
        except (InvalidURI, ValueError):  # whose messages quote the address, a password in it included
            raise Refused(f"{_shown(url)!r} is not the address of a server; write http://HOST:PORT") from None
        except ConnectionClosed as error:
            code, why = (error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else (None, str(error))
        except ConnectionRefusedError:
            code, why = None, "connection refused"
        except (OSError, TimeoutError, WebSocketException) as error:
            code, why = None, getattr(error, "strerror", None) or str(error) or type(error).__name__
        if code == SESSION_CLOSED and session is not None:
            return
        _check_worth_waiting(code, why, url, wait=wait)
        await _pause(pauses, why or "the connection was closed")


def _check_worth_waiting(code: int | None, why: str | None, url: str, *, wait: bool) -> None:
    """Raise `Refused` if another attempt would not help after a connection that ended.

    Args:
        code: The WebSocket's close code; None if there was no connection, or it was lost.
        why: What the server or the system says about it, if anything.
        url: Address of the service.
        wait: Whether a service or session that is not there yet is waited for.
    """
    if not wait and code == UNKNOWN_SESSION:
        raise Refused(why)
    if not wait and code is None:
        raise Refused(f"no service answers at {_shown(url)} ({why}); is it running, and is this its address?")
    if code == POLICY:
        raise Refused(why or "the server refuses this client")


async def redis_stream(
    url: str = "redis://127.0.0.1:6379/0", *, session: str, after: str = "$"
) -> AsyncGenerator[tuple[str, Event], None]:
    """Yield (id, event) for each event of `session` in the Redis Stream that the service writes, without gaps.

    No event is skipped or repeated as long as Redis keeps it. Raise `Refused` for a malformed URL, a wrong password or
    a key that is not a stream.

    Args:
        url: Address of Redis, as `redis://HOST:PORT/DB`.
        session: Name of the session.
        after: "$" begins with the next event, "0" with the oldest that is kept, an id with the event after it. Keep
            the last id to go on later where you stopped.
    """
    from redis.asyncio import Redis
    from redis.exceptions import AuthenticationError, RedisError, ResponseError

    try:
        if "@" in url.partition("://")[2].partition("/")[2]:  # what looks like the host is a part of the password
            raise ValueError
        redis: Any = Redis.from_url(url, decode_responses=True, socket_timeout=BLOCK + ANSWER_WITHIN)
    except ValueError:  # whose message quotes the URL, password included
        raise Refused(
            "the Redis URL is malformed; write redis://USER:PASSWORD@HOST:PORT/DB and percent-encode the password"
        ) from None
    key = f"affect:{session}"
    pauses = _pauses()
    async with contextlib.aclosing(redis):
        while True:
            try:
                if after == "$":  # replaced by an id, so that nothing is missed while the connection is down
                    newest = await redis.xrevrange(key, count=1)
                    after = newest[0][0] if newest else "0"
                answer = await redis.xread({key: after}, count=BATCH, block=round(BLOCK * 1000))
            except (AuthenticationError, ResponseError) as error:
                raise Refused(f"Redis refuses the request: {error}") from None
            except (RedisError, OSError) as error:
                await _pause(pauses, str(error))
                continue
            pauses = _pauses()
            for _, entries in answer.items() if isinstance(answer, dict) else answer:
                for after, fields in entries:  # the next request begins after the last id
                    yield after, json.loads(fields["event"])


def _address(url: str, session: str | None, landmarks: bool) -> str:
    """Return the WebSocket address of the stream on the service at `url`."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path.rstrip("/").removesuffix("/v1/stream") + "/v1/stream"
    wanted = {"session": session} if session is not None else {}
    query = urlencode(wanted | ({"landmarks": "1"} if landmarks else {}))
    return f"{scheme}://{parts.netloc}{path}?{query}"


def _shown(url: str) -> str:
    """Return `url` without what may be a user and a password."""
    return url.rpartition("@")[2]


def _sentence(error: "InvalidStatus") -> str:
    """Return the server's own reason for refusing a connection."""
    try:
        return str(json.loads(error.response.body or b"")["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the server answers {error.response.status_code}; is this its address?"


def _pauses() -> Iterator[float]:
    """Yield pauses in seconds that double up to `LONGEST_PAUSE`; each is shortened at random, to spread clients."""
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, LONGEST_PAUSE)


async def _pause(pauses: Iterator[float], why: str) -> None:
    """Log why the stream is down, and wait for the next pause."""
    import asyncio

    pause = next(pauses)
    log.info("the connection is down (%s); trying again in %.1f s", why, pause)
    await asyncio.sleep(pause)
