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

from service.register import NameTaken, UnknownSession
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


@router.post("/sessions", status_code=201)
def open_session(opening: Opening, request: Request, live: Running) -> SessionInfo:
    """Open a source, unless the opening was ended meanwhile (404)."""
    _end_older(live, opening.name, opening.incarnation)
    session = _sessions(live).open(
        opening.source, opening.name, purpose=opening.purpose, incarnation=opening.incarnation
    )
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


@router.post("/whip/{session}", status_code=201)
async def publish(
    session: str,
    request: Request,
    live: Running,
    incarnation: Annotated[int, Query()],
    purpose: str | None = None,
) -> Response:
    """Open a session on a WHIP offer; see `service.web.routes.whip.publish`."""
    await asyncio.to_thread(_end_older, live, session, incarnation)
    answer = await whip.accept(session, request, purpose, incarnation)
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


def _check_wanted(request: Request, live: Live, name: str, incarnation: int) -> None:
    if (name, incarnation) in request.app.state.ended_openings:
        close_if_open(_sessions(live), name, incarnation)
        raise UnknownSession(f"the session {name!r} was closed while it was being opened")


def _sessions(live: Live) -> Sessions:
    assert isinstance(live.sessions, Sessions)
    return live.sessions
