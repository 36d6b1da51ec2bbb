"""What a worker answers besides the routes of the service, for the service in front of it alone.

Sources are opened without a check of the operator's list: the service in front has checked them. A session and its
incarnation name an opening for good, so that the service in front can end it at any time, even before it is open.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from service import metrics, tracing
from service.history import Note
from service.register import NameTaken, UnknownSession
from service.rules import parse_rules
from service.session_options import RequestedOptions
from service.sessions import Sessions, close_if_open
from service.web.live import Live, Running
from service.web.routes import whip
from service.web.routes.sessions import SessionInfo, info_of

REMEMBERED = 1024  # openings that were ended before they were open


@asynccontextmanager
async def _lifespan(app: Any) -> AsyncIterator[None]:
    app.state.ended_openings = {}  # (session, incarnation) -> None, in the order of ending
    yield


router = APIRouter(prefix="/worker", include_in_schema=False, lifespan=_lifespan)


class Opening(BaseModel):
    """Hold a source, and the session to run on it."""

    source: str
    name: str
    purpose: str | None
    incarnation: int
    allowed: list[str] | None = None
    asked: RequestedOptions | None = None
    rules: list[str] | None = None  # in place of those of the settings
    earlier: list[Note] = []


@router.post("/sessions", status_code=201)
def open_session(opening: Opening, request: Request, live: Running) -> SessionInfo:
    """Open a source, unless the opening was ended meanwhile (404)."""
    with tracing.continued(request.headers), tracing.span("open session in a worker"):
        return _open(opening, request, live)


def _open(opening: Opening, request: Request, live: Live) -> SessionInfo:
    session = None
    while session is None:
        _end_older(live, opening.name, opening.incarnation)
        try:
            session = _sessions(live).open(
                opening.source,
                opening.name,
                purpose=opening.purpose,
                incarnation=opening.incarnation,
                allowed=opening.allowed,
                asked=opening.asked,
                rules=None if opening.rules is None else parse_rules(opening.rules),
                earlier=opening.earlier,
            )
        except NameTaken:  # by an older opening that was ended and has only now come to register its name
            if _holds_newer(live, opening.name, opening.incarnation):
                raise
    _check_wanted(request, live, opening.name, opening.incarnation)
    return info_of(session)


@router.delete("/sessions/{name}/{incarnation}", status_code=204)
def end_session(name: str, incarnation: int, request: Request, live: Running) -> None:
    """End a session that is open or being opened."""
    ended: dict[tuple[str, int], None] = request.app.state.ended_openings
    ended[name, incarnation] = None
    while len(ended) > REMEMBERED:
        ended.pop(next(iter(ended)), None)
    close_if_open(_sessions(live), name, incarnation)


@router.post("/sessions/{name}/lost", status_code=204)
def lose_session(name: str, live: Running) -> None:
    """End a session whose lease another worker has by now, because this one could not renew it."""
    with contextlib.suppress(UnknownSession):
        _sessions(live).close(name)
        metrics.LEASES_LOST.inc()


@router.post("/whip/{session}", status_code=201)
async def publish(
    session: str,
    request: Request,
    live: Running,
    asked: whip.InQuery,
    incarnation: Annotated[int, Query()],
    purpose: str | None = None,
    rotate: whip.Rotate = 0,
) -> Response:
    """Open a session on a WHIP offer; see `service.web.routes.whip.publish`."""
    await asyncio.to_thread(_end_older, live, session, incarnation)
    with tracing.continued(request.headers), tracing.span("WHIP offer in a worker"):
        answer = await whip.accept(session, request, purpose, rotate, asked, incarnation)
    await asyncio.to_thread(_check_wanted, request, live, session, incarnation)
    return answer


@router.post("/whip/{session}/give-way", status_code=204)
async def give_way(session: str, request: Request) -> None:
    """End the session of a WHIP peer that is silent, so that its name is free; 409 if it is not silent."""
    if not await whip.end_if_silent(request.app, session):
        raise NameTaken(f"a session called {session!r} is open; choose another name or close it first")


def _end_older(live: Live, name: str, incarnation: int) -> None:
    """End an older incarnation of a session: the service in front has given it up, and its end is on its way."""
    with contextlib.suppress(UnknownSession):
        older = live.sessions.get(name)
        if older.incarnation < incarnation:
            close_if_open(_sessions(live), name, older.incarnation)


def _holds_newer(live: Live, name: str, incarnation: int) -> bool:
    """Return whether a session of that name is open that is not older than `incarnation`."""
    try:
        return live.sessions.get(name).incarnation >= incarnation
    except UnknownSession:
        return False


def _check_wanted(request: Request, live: Live, name: str, incarnation: int) -> None:
    if (name, incarnation) in request.app.state.ended_openings:
        close_if_open(_sessions(live), name, incarnation)
        raise UnknownSession(f"the session {name!r} was closed while it was being opened")


def _sessions(live: Live) -> Sessions:
    assert isinstance(live.sessions, Sessions)
    return live.sessions
