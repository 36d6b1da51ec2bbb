"""`WS /v1/stream`: events as JSON text frames. A slow reader loses its oldest events and slows nobody else."""

import asyncio
import contextlib
import time
from collections import deque
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from service.publish.hub import Subscription
from service.register import UnknownSession
from service.web.live import Live, Running

router = APIRouter()

# Close codes: of RFC 6455, and of the application's own range where it mirrors an HTTP status.
NORMAL, GOING_AWAY, POLICY, TRY_LATER, UNKNOWN_SESSION = 1000, 1001, 1008, 1013, 4404
CLIENT_MESSAGES = 60  # a minute; they are ignored, and more of them is no client
_REASON_BYTES = 123  # room in a close frame


@router.websocket("/v1/stream")
async def stream(
    websocket: WebSocket,
    live: Running,
    session: Annotated[str | None, Query()] = None,
    landmarks: Annotated[bool, Query()] = False,
) -> None:
    """Events of `session`, or of all; with `landmarks=1` each face's 68 points. The last event comes at once."""
    with contextlib.suppress(WebSocketDisconnect):  # a client may leave at any time
        objection = _objection(live, session)
        if objection is not None:
            await websocket.accept()  # only an open WebSocket tells browsers why it is closed
            await websocket.close(*objection)
            return
        # Subscribed before the client knows that it is connected: it misses nothing that happens from then on.
        with live.watching(), live.hub.subscribe(session, landmarks=landmarks) as subscription:
            await websocket.accept()
            await _serve(websocket, subscription, live)


def _objection(live: Live, session: str | None) -> tuple[int, str] | None:
    """Close code and reason for a client that cannot be served."""
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
    """Sends until the subscription ends, which is true, or the client is gone, which is false."""
    try:
        async for event in subscription:
            await websocket.send_text(subscription.text(event))
    except WebSocketDisconnect:
        return False
    return True


async def _listen(websocket: WebSocket) -> int:
    """Reads and ignores what the client says; returns when it has left, or said too much."""
    said: deque[float] = deque(maxlen=CLIENT_MESSAGES)
    while (await websocket.receive())["type"] != "websocket.disconnect":
        now = time.monotonic()
        if len(said) == CLIENT_MESSAGES and now - said[0] < 60:
            return POLICY
        said.append(now)
    return NORMAL


def _short(text: str) -> str:
    return text.encode()[:_REASON_BYTES].decode(errors="ignore")
