"""Requests that the front process passes on to the worker of a session: those of WHIP peers and for previews."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from service import tracing
from service.register import NameTaken, TooMany, Unavailable
from service.session_options import RequestedOptions
from service.web.live import Live, Running
from service.web.routes import whip
from service.workers.foreign import NoWorkerHere
from service.workers.handle import OPENED_IN
from service.workers.http_peer import ANSWER_WITHIN, HttpPeer
from service.workers.remote_session import RemoteSession
from service.workers.sessions import RemoteSessions

# Headers of a request, and of a worker's answer, that are passed on.
_REQUEST_HEADERS = (b"content-type", b"if-match")
_ANSWER_HEADERS = ("content-type", "location", "etag", "accept-patch", "accept-post", "allow", "link")

router = APIRouter(include_in_schema=False)


@router.post("/whip/{session}")
async def publish(
    session: str,
    request: Request,
    live: Running,
    asked: whip.InQuery,
    purpose: whip.Purpose = None,
    rotate: whip.Rotate = 0,
) -> Response:
    """Open a session on a WHIP offer in a worker; see `service.web.routes.whip.publish`."""
    with tracing.span("WHIP offer"):
        return await _publish(session, request, live, purpose, rotate, asked)


async def _publish(
    session: str, request: Request, live: Live, purpose: str | None, rotate: int, asked: whip.InQuery
) -> Response:
    sessions = _sessions(live)
    body = await request.body()
    found = sessions.find(session)
    if not (found is None or isinstance(found, RemoteSession) or found.over):  # of another service
        return await _ask(found.worker, request, _path(request), body)
    try:
        placed = await _place(sessions, session, purpose, asked)
    except NoWorkerHere as error:
        return await _ask(error.instead, request, _path(request), body, within=OPENED_IN)
    try:
        query: dict[str, Any] = {"incarnation": placed.incarnation, "rotate": rotate} | placed.options.as_request()
        query |= {} if placed.purpose is None else {"purpose": placed.purpose}
        path = f"/worker/whip/{placed.name}"
        answer = await _ask(placed.worker, request, path, body, query, within=OPENED_IN)  # it may load a model first
        if answer.status_code == httpx.codes.CREATED:
            placed.label = "whip:"
            await asyncio.to_thread(sessions.confirm, placed)
            answer.headers["location"] = request.scope.get("root_path", "") + answer.headers["location"]
            return answer
    except (Unavailable, asyncio.CancelledError):  # the worker may open it yet
        await asyncio.shield(asyncio.to_thread(sessions.undo, placed))
        sessions.drop(placed)
        raise
    except BaseException:
        sessions.drop(placed)
        raise
    sessions.drop(placed)
    return answer


@router.patch("/whip/{session}/{resource}")
async def trickle(session: str, resource: str, request: Request, live: Running) -> Response:
    """Pass late ICE candidates on; see `service.web.routes.whip.trickle`."""
    return await _ask(_peer(live, session).worker, request, _path(request), await request.body())


@router.delete("/whip/{session}/{resource}")
async def end(session: str, resource: str, request: Request, live: Running) -> Response:
    """End a WHIP session; see `service.web.routes.whip.end`."""
    peer = _peer(live, session)
    answer = await _ask(peer.worker, request, _path(request), b"")
    if answer.status_code == httpx.codes.OK and isinstance(peer, RemoteSession):
        await asyncio.to_thread(peer.gone.wait, 5.0)
        _sessions(live).drop(peer)
    return answer


@router.get("/v1/sessions/{id}/history")
@router.get("/v1/sessions/{id}/report")
async def past(id: str, request: Request, live: Running) -> Response:
    """Pass a question about the past on; see `service.web.routes.history` and `service.web.routes.report`."""
    return await _ask(_sessions(live).opened(id).worker, request, _path(request), b"")


@router.get("/v1/sessions/{id}/preview")
async def preview(id: str, request: Request, live: Running) -> Response:
    """Pass a preview on; see `service.web.routes.preview.preview`."""
    worker = _sessions(live).opened(id).worker
    if live.crowded:
        raise TooMany(f"{live.settings.max_subscribers} clients are watching, as many as this server allows")
    answer = await worker.send("GET", _path(request), stream=True)
    if answer.is_error:
        await answer.aread()
        return _answer(answer)
    return StreamingResponse(_parts(answer, live), headers=_passed_on(answer))


async def _place(sessions: RemoteSessions, name: str, purpose: str | None, asked: RequestedOptions) -> RemoteSession:
    """Register the session of a new peer; one of the same name whose peer is silent is ended for it."""
    try:
        return await asyncio.to_thread(sessions.place, name, None, purpose=purpose, asked=asked)
    except NameTaken:
        before = sessions.find(name)
        if before is None or before.source is not None or not before.opened:
            raise
        await asyncio.to_thread(before.worker.request, "POST", f"/worker/whip/{name}/give-way")
        await asyncio.to_thread(before.gone.wait, 5.0)
        return await asyncio.to_thread(sessions.place, name, None, purpose=purpose, asked=asked)


async def _parts(answer: httpx.Response, live: Live) -> AsyncIterator[bytes]:
    with live.watching():
        try:
            async for part in answer.aiter_raw():
                yield part
        except (httpx.HTTPError, RuntimeError):  # the worker has ended: so does the preview
            return
        finally:
            await answer.aclose()


async def _ask(
    worker: HttpPeer,
    request: Request,
    path: str,
    body: bytes,
    query: dict[str, Any] | None = None,
    *,
    within: float = ANSWER_WITHIN,
) -> Response:
    headers = [(name, value) for name, value in request.headers.raw if name in _REQUEST_HEADERS]
    return _answer(await worker.send(request.method, path, within=within, content=body, headers=headers, params=query))


def _answer(answer: httpx.Response) -> Response:
    return Response(answer.content, answer.status_code, _passed_on(answer))


def _passed_on(answer: httpx.Response) -> dict[str, str]:
    return {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers}


def _path(request: Request) -> str:
    """Return the path and query as the client sent them, percent-encoded, without the prefix of a proxy."""
    path: str = request.scope["raw_path"].decode("ascii")
    path = path.removeprefix(request.scope.get("root_path", ""))
    query: bytes = request.scope["query_string"]
    return f"{path}?{query.decode('latin-1')}" if query else path


def _peer(live: Live, name: str) -> RemoteSession:
    session = _sessions(live).find(name)
    if session is None or session.over or not session.opened:
        raise HTTPException(404, "no such WHIP session; it has ended, or the address is not the Location of a 201")
    return session


def _sessions(live: Live) -> RemoteSessions:
    assert isinstance(live.sessions, RemoteSessions)
    return live.sessions
