"""WebRTC in, by WHIP (RFC 9725): an SDP offer is posted, a session runs on what then arrives.

Browsers, OBS, GStreamer and FFmpeg speak it. Late ICE candidates are taken by PATCH; ICE restarts are not offered,
since aiortc has none.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.exceptions import InvalidStateError
from aiortc.rtcconfiguration import RTCBundlePolicy
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from engines.errors import UserError
from service.capture.sdp import NotAcceptable, answer_offer, ice_servers, ice_username, read_fragment
from service.capture.webrtc import WebRtcSource
from service.session import Session
from service.sessions import NameTaken, TooMany, UnknownSession

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
MAX_CANDIDATES = 100  # late ones that a peer may send; RFC 8445, 19.5.1 limits the checks to as many
STATUS = {NotAcceptable: 406, UnknownSession: 404, NameTaken: 409, TooMany: 429, UserError: 400}


@dataclass
class Peer:
    """A WHIP session: the resource behind the `Location` of a 201."""

    source: WebRtcSource
    connection: RTCPeerConnection
    etag: str  # identifies the ICE session
    session: Session | None = None
    candidates: int = 0


class _WhipRoute(APIRoute):
    """Says errors in sentences and lets the allowed origins read the answers (CORS)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handle(request)
            except UserError as error:
                status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
                response = JSONResponse({"detail": str(error)}, status)
            except HTTPException as error:
                response = JSONResponse({"detail": error.detail}, error.status_code, error.headers)
            origin = request.headers.get("origin")
            if origin is not None and origin in request.app.state.settings.allowed_origins:
                response.headers["Access-Control-Allow-Origin"] = origin
                response.headers["Access-Control-Expose-Headers"] = "Location, ETag, Link, Accept-Patch"
                response.headers["Vary"] = "Origin"
            return response

        return answer


@asynccontextmanager
async def _lifespan(app: Any) -> AsyncIterator[None]:
    app.state.whip_peers = {}
    yield
    await asyncio.gather(*(peer.source.close("the server is stopping") for peer in [*app.state.whip_peers.values()]))


router = APIRouter(prefix="/whip", tags=["whip"], route_class=_WhipRoute, lifespan=_lifespan)

_SDP_BODY = {"requestBody": {"required": True, "content": {SDP: {"schema": {"type": "string"}}}}}
_FRAGMENT_BODY = {"requestBody": {"required": True, "content": {FRAGMENT: {"schema": {"type": "string"}}}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "Not an SDP offer, or not a session name"},
    406: {"description": "Nothing in the offer that can be received"},
    409: {"description": "The name is taken"},
    413: {"description": "The body is too large"},
    415: {"description": "Not " + SDP},
    429: {"description": "As many sessions are open as this server allows"},
}


@router.post("/{session}", status_code=201, openapi_extra=_SDP_BODY, responses=_REFUSALS, response_class=Response)
async def publish(session: str, request: Request) -> Response:
    """Opens session `session` on the picture and sound that the SDP offer in the body sends. Answers with SDP."""
    offer = await _body(request, SDP)
    state = request.app.state
    state.sessions.check(session)
    servers = ice_servers(state.settings.ice_servers)
    connection = RTCPeerConnection(RTCConfiguration(servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    resource = secrets.token_urlsafe(16)
    peers: dict[str, Peer] = state.whip_peers
    source = WebRtcSource(connection, "whip:", on_end=partial(_drop, peers, resource))
    peer = peers[resource] = Peer(source, connection, f'"{secrets.token_hex(8)}"')
    try:
        answer = await answer_offer(connection, offer)
        peer.session = await asyncio.to_thread(state.sessions.adopt, source, session)
    except BaseException:
        await source.close("the offer was refused")
        raise
    headers = {
        "Location": f"{request.scope.get('root_path', '')}/whip/{session}/{resource}",
        "ETag": peer.etag,
        "Accept-Patch": FRAGMENT,
        **_links(request),
    }
    return Response(answer, 201, headers, SDP)


@router.patch("/{session}/{resource}", status_code=204, openapi_extra=_FRAGMENT_BODY, response_class=Response)
async def trickle(session: str, resource: str, request: Request) -> Response:
    """Adds ICE candidates that were found after the offer was sent. An ICE restart is answered with 422."""
    peer = _peer(request, resource)
    fragment = read_fragment(await _body(request, FRAGMENT))
    match = request.headers.get("if-match", peer.etag)
    if match == "*" or fragment.username not in (None, ice_username(peer.connection)):
        raise HTTPException(422, "this server does not restart ICE; DELETE the session and POST a new offer")
    if peer.etag not in [tag.strip() for tag in match.split(",")]:
        raise HTTPException(412, f"If-Match {match!r} is not the ETag of this ICE session; use the one of the 201")
    peer.candidates += len(fragment.candidates)
    if peer.candidates > MAX_CANDIDATES:
        raise HTTPException(429, f"more than {MAX_CANDIDATES} late ICE candidates; DELETE the session and begin anew")
    try:
        for candidate in fragment.candidates:
            await peer.connection.addIceCandidate(candidate)
        if fragment.complete:
            await peer.connection.addIceCandidate(None)
    except (ValueError, InvalidStateError) as error:
        raise UserError(f"an ICE candidate cannot be used ({error})") from None
    return Response(status_code=204)


@router.delete("/{session}/{resource}", response_class=Response)
async def end(session: str, resource: str, request: Request) -> Response:
    """Ends the session."""
    peer = _peer(request, resource)
    await peer.source.close("the sender ended the session")
    if peer.session is not None:
        await asyncio.to_thread(_forget, request.app.state.sessions, peer.session)
    return Response(status_code=200)


@router.options("/{session}", include_in_schema=False)
@router.options("/{session}/{resource}", include_in_schema=False)
async def options(request: Request) -> Response:
    """What can be posted here, the ICE servers to use, and the answer to CORS preflights."""
    headers = {"Accept-Post": SDP, "Allow": "OPTIONS, POST"}
    if "resource" in request.path_params:
        headers = {"Accept-Patch": FRAGMENT, "Allow": "DELETE, OPTIONS, PATCH"}
    if "access-control-request-method" not in request.headers:  # a preflight is not authorised: no credentials in it
        headers |= _links(request)
    else:
        headers["Access-Control-Allow-Methods"] = headers["Allow"]
        headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, If-Match"
        headers["Access-Control-Max-Age"] = "600"
    return Response(status_code=204, headers=headers)


async def _body(request: Request, expected: str) -> str:
    """The body's text. Raises 415 for another type and 413 beyond the settings' limit."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != expected:
        raise HTTPException(415, f"Content-Type {media_type!r} is not taken here; send {expected}")
    limit = request.app.state.settings.max_request_bytes
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"the body is larger than the {limit} bytes that this server takes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise UserError("the body is not UTF-8 text; send SDP") from None


def _peer(request: Request, resource: str) -> Peer:
    peer: Peer | None = request.app.state.whip_peers.get(resource)
    if peer is None:
        raise HTTPException(404, "no such WHIP session; it has ended, or the address is not the Location of a 201")
    return peer


def _links(request: Request) -> dict[str, str]:
    """RFC 9725, 4.6: the ICE servers that the client should use, too."""
    links = []
    for server in ice_servers(request.app.state.settings.ice_servers):
        link = f'<{server.urls}>; rel="ice-server"'
        if server.username is not None:
            link += f'; username="{server.username}"; credential="{server.credential}"; credential-type="password"'
        links.append(link)
    return {"Link": ", ".join(links)} if links else {}


def _drop(peers: dict[str, Peer], resource: str) -> None:
    peers.pop(resource, None)


def _forget(sessions: Any, session: Session) -> None:
    """Takes an ended session off the list, unless another one has its name by now."""
    if session in sessions.list():
        sessions.close(session.name)
