"""WebRTC in, by WHIP (RFC 9725): an SDP offer is posted, a session runs on what then arrives.

Browsers, OBS, GStreamer and FFmpeg speak it. Late ICE candidates are taken by PATCH. ICE restarts are answered with
422, because aiortc has none: a client ends its session with DELETE, or falls silent for two seconds, and posts a new
offer under the same name. aiortc is imported where it is used, because a service with workers passes offers on to them.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from pydantic import BeforeValidator

from models.errors import UserError
from service import tracing
from service.register import NameTaken
from service.session_options import RequestedModel, RequestedOptions, RequestedRate, RequestedSmoothing, RequestedVoice
from service.web.problem import Problem, problems

if TYPE_CHECKING:
    from aiortc import RTCPeerConnection

    from service.capture.webrtc import WebRtcSource
    from service.session import Session

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
SILENT_AFTER = 2.0  # s without a packet after which a peer gives way to a new one of the same name
MAX_CANDIDATES = 100  # late ones that a peer may send; RFC 8445, 19.5.1 limits the checks to as many
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}


@dataclass
class Peer:
    """Hold a WHIP session: the resource behind the `Location` of a 201."""

    source: "WebRtcSource"
    connection: "RTCPeerConnection"
    etag: str  # identifies the ICE session
    session: "Session | None" = None
    candidates: int = 0


@asynccontextmanager
async def _lifespan(app: Any) -> AsyncIterator[None]:
    app.state.whip_peers = {}
    yield
    await asyncio.gather(*(peer.source.close("the server is stopping") for peer in [*app.state.whip_peers.values()]))


def _takes(media_type: str) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: _TEXT}}}


Purpose = Annotated[str | None, Query(max_length=300, description="See POST /v1/sessions; the server's without one")]
Rotate = Annotated[
    Literal[0, 90, 180, 270], BeforeValidator(int), Query(description="Degrees clockwise that the pictures are turned")
]


def options_in_query(
    model: Annotated[RequestedModel, Query()] = None,
    voice: Annotated[RequestedVoice, Query()] = None,
    smoothing: Annotated[RequestedSmoothing, Query()] = None,
    rate: Annotated[RequestedRate, Query()] = None,
) -> RequestedOptions:
    """Return what the query asks of a session."""
    return RequestedOptions(model=model, voice=voice, smoothing=smoothing, rate=rate)


InQuery = Annotated[RequestedOptions, Depends(options_in_query)]
router = APIRouter(prefix="/whip", tags=["whip"], lifespan=_lifespan)


@router.post(
    "/{session}",
    status_code=201,
    summary="WebRTC in, by WHIP",
    response_class=Response,
    responses={
        201: {"description": "The SDP answer; `Location` is what ends the session", "content": {SDP: _TEXT}},
        406: {"model": Problem, "description": "The offer sends nothing that this service takes"},
        415: {"model": Problem, "description": f"Not {SDP}"},
        **problems(400, 401, 403, 409, 413, 422, 429),
    },
    openapi_extra=_takes(SDP),
)
async def publish(
    session: str, request: Request, asked: InQuery, purpose: Purpose = None, rotate: Rotate = 0
) -> Response:
    """Open session `session` on the picture and sound that the SDP offer in the body sends; answer with SDP.

    A session of that name whose peer has been silent for two seconds is ended for it.
    """
    with tracing.span("WHIP offer"):
        return await accept(session, request, purpose, rotate, asked)


async def accept(
    session: str,
    request: Request,
    purpose: str | None,
    rotate: int,
    asked: RequestedOptions,
    incarnation: int | None = None,
) -> Response:
    """Answer an SDP offer with 201 and run a session on it; `incarnation` is the register's next one if None."""
    from aiortc import RTCConfiguration, RTCPeerConnection
    from aiortc.rtcconfiguration import RTCBundlePolicy

    from service.capture.aiortc_internals import accept_rsa
    from service.capture.sdp import NotAcceptable, answer_offer, ice_servers
    from service.capture.webrtc import WebRtcSource

    offer = _without_end_of_candidates(await _body(request, SDP))
    state = request.app.state
    try:
        state.sessions.check(session, purpose, asked)
    except NameTaken:
        if not await end_if_silent(request.app, session):
            raise
    servers = ice_servers(state.settings.ice_servers)
    connection = RTCPeerConnection(RTCConfiguration(servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    accept_rsa(connection)
    resource = secrets.token_urlsafe(16)
    peers: dict[str, Peer] = state.whip_peers
    source = WebRtcSource(connection, "whip:", on_end=partial(_drop, peers, resource), rotate=rotate)
    peer = peers[resource] = Peer(source, connection, f'"{secrets.token_hex(8)}"')
    try:
        try:
            answer = await answer_offer(connection, offer)
        except NotAcceptable as error:
            raise HTTPException(406, str(error)) from None
        adopt = partial(state.sessions.adopt, source, session, purpose=purpose, incarnation=incarnation, asked=asked)
        peer.session = await asyncio.to_thread(adopt)
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


async def end_if_silent(app: FastAPI, session: str) -> bool:
    """End the open WHIP session of that name if its peer has been silent for `SILENT_AFTER` seconds.

    Return whether it was ended. Its peer may be a page that was reloaded, or a camera that was switched off and on.
    """
    peers: dict[str, Peer] = app.state.whip_peers
    for peer in [*peers.values()]:
        if peer.session is None or peer.session.name != session or peer.session.over:
            continue
        if await peer.source.silent_for() < SILENT_AFTER:
            return False
        await peer.source.close(f"the peer was silent for {SILENT_AFTER:g} s and gave way to another one")
        await asyncio.to_thread(peer.session.wait, 5.0)
        return True
    return False


@router.patch(
    "/{session}/{resource}",
    status_code=204,
    summary="Late ICE candidates",
    response_class=Response,
    responses={
        412: {"model": Problem, "description": "If-Match names another ICE session"},
        415: {"model": Problem, "description": f"Not {FRAGMENT}"},
        422: {"model": Problem, "description": "An ICE restart, which this service does not do"},
        **problems(400, 401, 403, 404, 413, 429),
    },
    openapi_extra=_takes(FRAGMENT),
)
async def trickle(session: str, resource: str, request: Request) -> Response:
    """Add ICE candidates that were found after the offer was sent.

    Their end changes nothing: the peer's packets are waited for, because a browser's mDNS names may be unknown here.

    An ICE restart is answered with 422: DELETE the session and POST a new offer, under the same name if you like.
    """
    from aiortc.exceptions import InvalidStateError

    from service.capture.sdp import ice_username, read_fragment

    peer = _peer(request, session, resource)
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
    except (ValueError, InvalidStateError) as error:
        raise UserError(f"an ICE candidate cannot be used ({error})") from None
    return Response(status_code=204)


@router.delete(
    "/{session}/{resource}", summary="End a WHIP session", response_class=Response, responses=problems(401, 403, 404)
)
async def end(session: str, resource: str, request: Request) -> Response:
    """End the session."""
    peer = _peer(request, session, resource)
    await peer.source.close("the sender ended the session")
    await asyncio.to_thread(_forget, request.app.state.sessions, peer.session)
    return Response(status_code=200)


@router.options("/{session}", include_in_schema=False)
@router.options("/{session}/{resource}", include_in_schema=False)
async def options(request: Request) -> Response:
    """Say what can be posted here and which ICE servers to use; CORS preflights are answered before."""
    headers = {"Accept-Post": SDP, "Allow": "OPTIONS, POST", **_links(request)}
    if "resource" in request.path_params:
        headers = {"Accept-Patch": FRAGMENT, "Allow": "DELETE, OPTIONS, PATCH"}
    return Response(status_code=204, headers=headers)


async def _body(request: Request, expected: str) -> str:
    """Return the body's text, whose size was limited before. Raise HTTP 415 for another type than `expected`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != expected:
        raise HTTPException(415, f"Content-Type {media_type!r} is not taken here; send {expected}")
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError:
        raise UserError("the body is not UTF-8 text; send SDP") from None


def _without_end_of_candidates(offer: str) -> str:
    """Return an SDP offer without the lines that say that no more candidates will follow.

    aiortc gives up at once where it can reach none of the candidates. Where they are mDNS names that only the peer's
    own network knows, the peer's packets still arrive; a peer that never comes is given up after eight seconds.
    """
    return "".join(line for line in offer.splitlines(keepends=True) if line.strip() != "a=end-of-candidates")


def _peer(request: Request, session: str, resource: str) -> Peer:
    peer: Peer | None = request.app.state.whip_peers.get(resource)
    if peer is None or peer.session is None or peer.session.name != session:
        raise HTTPException(404, "no such WHIP session; it has ended, or the address is not the Location of a 201")
    return peer


def _links(request: Request) -> dict[str, str]:
    """Return the Link header with the ICE servers that the client should use too (RFC 9725, 4.6)."""
    if not request.app.state.settings.ice_servers:
        return {}
    from service.capture.sdp import ice_servers

    links = []
    for server in ice_servers(request.app.state.settings.ice_servers):
        link = f'<{server.urls}>; rel="ice-server"'
        if server.username is not None:
            link += f'; username="{server.username}"; credential="{server.credential}"; credential-type="password"'
        links.append(link)
    return {"Link": ", ".join(links)}


def _drop(peers: dict[str, Peer], resource: str) -> None:
    peers.pop(resource, None)


def _forget(sessions: Any, session: "Session | None") -> None:
    """Remove an ended session from the list, unless another one has its name by now."""
    if session is not None and session in sessions.list():
        sessions.close(session.name)
