"""Requests that the worker of a session answers itself: its WebRTC peer's, and those for its pictures."""

import asyncio
from collections.abc import AsyncIterator

import httpx
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from service.register import TooMany, UnknownSession
from service.web.live import Live, Running
from service.workers.handle import Worker, answering
from service.workers.sessions import RemoteSession, RemoteSessions

_TOLD = ("content-type", "if-match")  # headers of a request that mean something to a worker
_GIVEN = ("content-type", "location", "etag", "accept-patch", "accept-post", "allow", "link")  # of its answer

router = APIRouter(include_in_schema=False)


@router.post("/whip/{session}")
async def publish(session: str, request: Request, live: Running, purpose: str | None = None) -> Response:
    """See `service.web.routes.whip.publish`."""
    sessions = _sessions(live)
    placed = await asyncio.to_thread(sessions.place, session, None, purpose=purpose)
    try:
        answer = await _ask(placed.worker, request)
    except BaseException:
        sessions.drop(placed)
        raise
    if answer.status_code == httpx.codes.CREATED:
        placed.label = "whip:"
        answer.headers["location"] = request.scope.get("root_path", "") + answer.headers["location"]
    else:
        sessions.drop(placed)
    return answer


@router.patch("/whip/{session}/{resource}")
async def trickle(session: str, resource: str, request: Request, live: Running) -> Response:
    """See `service.web.routes.whip.trickle`."""
    return await _ask(_peer(live, session).worker, request)


@router.delete("/whip/{session}/{resource}")
async def end(session: str, resource: str, request: Request, live: Running) -> Response:
    """See `service.web.routes.whip.end`."""
    peer = _peer(live, session)
    answer = await _ask(peer.worker, request)
    if answer.status_code == httpx.codes.OK:
        await asyncio.to_thread(peer.gone.wait, 5.0)
        _sessions(live).drop(peer)
    return answer


@router.get("/v1/sessions/{id}/history")
async def history(id: str, request: Request, live: Running) -> Response:
    """See `service.web.routes.history.history`."""
    return await _ask(_sessions(live).get(id).worker, request)


@router.get("/v1/sessions/{id}/preview")
async def preview(id: str, request: Request, live: Running) -> Response:
    """See `service.web.routes.preview.preview`."""
    worker = _sessions(live).get(id).worker
    if live.crowded:
        raise TooMany(f"{live.settings.max_subscribers} clients are watching, as many as this server allows")
    asked = worker.client.build_request("GET", _path(request), timeout=None)
    with answering():
        answer = await worker.client.send(asked, stream=True)
    if answer.is_error:
        await answer.aread()
        return _answer(answer)
    return StreamingResponse(_parts(answer, live), headers=_given(answer))


async def _parts(answer: httpx.Response, live: Live) -> AsyncIterator[bytes]:
    with live.watching():
        try:
            async for part in answer.aiter_raw():
                yield part
        finally:
            await answer.aclose()


async def _ask(worker: Worker, request: Request) -> Response:
    headers = {name: request.headers[name] for name in _TOLD if name in request.headers}
    body = await request.body()
    with answering():
        answer = await worker.client.request(request.method, _path(request), content=body, headers=headers)
    return _answer(answer)


def _answer(answer: httpx.Response) -> Response:
    return Response(answer.content, answer.status_code, _given(answer))


def _given(answer: httpx.Response) -> dict[str, str]:
    return {name: answer.headers[name] for name in _GIVEN if name in answer.headers}


def _path(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def _peer(live: Live, name: str) -> RemoteSession:
    try:
        return _sessions(live).get(name)
    except UnknownSession:
        raise HTTPException(
            404, "no such WHIP session; it has ended, or the address is not the Location of a 201"
        ) from None


def _sessions(live: Live) -> RemoteSessions:
    assert isinstance(live.sessions, RemoteSessions)
    return live.sessions
