"""`WS /v1/stream`: events as JSON text frames. A slow reader loses its oldest events and delays no other one."""

import asyncio
import contextlib
import time
from collections import deque
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from service.publish.hub import Subscription
from service.register import UnknownSession
from service.web.connections import PINGS, WsConnection
from service.web.live import Live, Running
from service.web.pace import Pace

router = APIRouter()

# Close codes: of RFC 6455, and of the application's own range where it mirrors an HTTP status.
NORMAL, GOING_AWAY, POLICY, TRY_LATER, UNKNOWN_SESSION = 1000, 1001, 1008, 1013, 4404
CLIENT_MESSAGES = 60  # a minute; they are ignored, and a client that sends more is closed
SLOW = 0.02  # s that events had to wait for the reader, from which on it counts as slow
MAX_AGE = 0.5  # s that an event may wait for a slow reader before it is dropped
ASK_EVERY = 20.0  # s without an event after which a ping is sent
GONE_AFTER = 120.0  # s without a pong after which a reader is given up
_REASON_BYTES = 123  # room in a close frame


@router.websocket("/v1/stream")
async def stream(
    websocket: WebSocket,
    live: Running,
    session: Annotated[str | None, Query()] = None,
    landmarks: Annotated[bool, Query()] = False,
) -> None:
    """Send the events of `session`, or of all, the last one at once; with `landmarks=1` with each face's 68 points."""
    with contextlib.suppress(WebSocketDisconnect):  # a client may leave at any time
        objection = _objection(live, session)
        if objection is not None:
            await websocket.accept()  # browsers show why only of a WebSocket that was open
            await websocket.close(*objection)
            return
        # Subscribed before the client knows that it is connected, so that it misses nothing from then on.
        with live.watching(), live.hub.subscribe(session, landmarks=landmarks) as subscription:
            await websocket.accept()
            await _serve(websocket, subscription, live)


def _objection(live: Live, session: str | None) -> tuple[int, str] | None:
    """Return close code and reason for a client that cannot be served."""
    if live.stopping.is_set():
        return GOING_AWAY, "the server is stopping"
    if live.crowded:
        return TRY_LATER, f"{live.settings.max_subscribers} clients are watching, as many as this server allows"
    if session is not None:
        try:
            live.sessions.get(session)
        except UnknownSession as error:
            return UNKNOWN_SESSION, _short(str(error))
    return None


async def _serve(websocket: WebSocket, subscription: Subscription, live: Live) -> None:
    sending = asyncio.create_task(_send(websocket, subscription))
    listening = asyncio.create_task(_listen(websocket))
    try:
        await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, listening):
            task.cancel()
        await asyncio.gather(sending, listening, return_exceptions=True)
    for task in (sending, listening):
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    if not listening.cancelled() and listening.result() == POLICY:
        await websocket.close(POLICY, "this stream takes no messages")
    elif not sending.cancelled() and sending.result():
        code, reason = (GOING_AWAY, "the server is stopping") if live.stopping.is_set() else (NORMAL, "session closed")
        await websocket.close(code, reason)


async def _send(websocket: WebSocket, subscription: Subscription) -> bool:
    """Send until the subscription ends, and return True, or until the client is gone, and return False."""
    connection: WsConnection | None = (websocket.scope.get("extensions") or {}).get(PINGS)
    if connection is None:
        return await _send_unpaced(websocket, subscription)
    pace = Pace(connection.ping)
    asking = asyncio.create_task(_keep_asking(pace, connection))
    try:
        while True:
            if await pace.room() > SLOW:
                subscription.drop_aged(MAX_AGE)
            events = await subscription.take(1)
            if not events:
                return True
            await websocket.send_text(subscription.text(events[0]))
            pace.sent()
    except WebSocketDisconnect:
        return False
    finally:
        asking.cancel()


async def _send_unpaced(websocket: WebSocket, subscription: Subscription) -> bool:
    """Do what `_send` does behind a server that passes no pings on (Ray Serve), which buffers for a slow reader."""
    with contextlib.suppress(WebSocketDisconnect):
        while events := await subscription.take(1):
            await websocket.send_text(subscription.text(events[0]))
        return True
    return False


async def _keep_asking(pace: Pace, connection: WsConnection) -> None:
    """Send pings where no event is sent, and close the connection to a reader that answers none for too long."""
    while pace.silent_for < GONE_AFTER:
        await asyncio.sleep(ASK_EVERY)
        pace.ask()
    connection.abort()


async def _listen(websocket: WebSocket) -> int:
    """Read and ignore what the client sends; return the close code once it has left or has sent too many messages."""
    received: deque[float] = deque(maxlen=CLIENT_MESSAGES)
    while (await websocket.receive())["type"] != "websocket.disconnect":
        now = time.monotonic()
        if len(received) == CLIENT_MESSAGES and now - received[0] < 60:
            return POLICY
        received.append(now)
    return NORMAL


def _short(text: str) -> str:
    return text.encode()[:_REASON_BYTES].decode(errors="ignore")
