"""Pictures of a session, for sources that the browser does not have itself: JPEG parts of the newest frame alone.

They are encoded only while somebody watches, by one thread beside the event loop.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service import metrics
from service.capture.media import Frame
from service.register import TooMany, UnknownSession
from service.web.live import Live, Running, Watched
from service.web.problem import problems

MAX_FPS = 30.0  # parts a second
BOUNDARY = "affectstream-frame"
QUALITY = 80  # JPEG
SINK = "preview"

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class Preview(StreamingResponse):
    """Answer with JPEG parts, each with `Content-Type`, `Content-Length` and `X-Timestamp`, until the session ends."""

    media_type = f"multipart/x-mixed-replace; boundary={BOUNDARY}"

    def __init__(self, session: Watched, live: Live, fps: float, width: int) -> None:
        """Send at most `fps` parts a second, at most `width` pixels wide."""
        super().__init__(_parts(session, live, fps, width))
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts, and count the client meanwhile."""
        with self._live.watching(), metrics.SUBSCRIBERS.labels(SINK).track_inprogress():
            await super().__call__(scope, receive, send)


_RESPONSES = {
    200: {
        "description": "JPEG parts; `X-Timestamp` of each is the event's `t` in seconds. Ends with the session",
        "content": {"multipart/x-mixed-replace": {"schema": {"type": "string", "format": "binary"}}},
    },
    **problems(401, 403, 404, 422, 429, 503),
}


@router.get("/{id}/preview", summary="Watch a session", response_class=StreamingResponse, responses=_RESPONSES)
async def preview(
    id: str,
    live: Running,
    fps: Annotated[float, Query(gt=0, le=MAX_FPS, description="Parts a second at most")] = 10,
    width: Annotated[int, Query(ge=16, le=1920, description="Larger pictures are made smaller, to this width")] = 640,
    t: Annotated[str | None, Query(max_length=32, description="Ignored; makes the address new for an <img>")] = None,
) -> Preview:
    """Send the newest frame that an event was made of, as often as `fps` says; frames in between are skipped."""
    session = live.sessions.get(id)
    if live.crowded:
        raise TooMany(f"{live.settings.max_subscribers} clients are watching, as many as this server allows")
    return Preview(session, live, fps, width)


@router.head("/{id}/preview", include_in_schema=False)
def preview_head(id: str, live: Running) -> Response:
    """Answer with the head alone: the parts have no end, and would be made for nobody."""
    live.sessions.get(id)
    return Response(media_type=Preview.media_type)


async def _parts(session: Watched, live: Live, fps: float, width: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    shown: Frame | None = None
    while _is_open(session, live):
        started = loop.time()
        frame = session.latest_frame()
        if frame is not None and frame is not shown:
            shown = frame
            yield _part(await loop.run_in_executor(live.encoder, _jpeg, frame, width), frame.t)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(live.stopping.wait(), max(0.0, started + 1 / fps - loop.time()))
    yield f"--{BOUNDARY}--\r\n".encode()


def _is_open(session: Watched, live: Live) -> bool:
    try:
        return not live.stopping.is_set() and live.sessions.get(session.name) is session
    except UnknownSession:
        return False


def _jpeg(frame: Frame, width: int) -> bytes:
    import cv2  # in the process that has the picture: a service with workers passes their previews on

    image = frame.image
    if image.shape[1] > width:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return encoded.tobytes()


def _part(jpeg: bytes, t: float) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\nX-Timestamp: {t:.6f}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"
