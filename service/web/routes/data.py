"""What is kept of a session, to be erased: `DELETE /v1/sessions/{id}/data`."""

import asyncio

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service import audit
from service.register import NAME, UnknownSession
from service.web.live import Live, Running
from service.web.problem import problems

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class Erased(BaseModel):
    """Say what was erased."""

    session: str = Field(description="Name of the session")
    erased: dict[str, int] = Field(
        description="How much of what was erased: rows of the history, and events in each sink that keeps them",
        examples=[{"history": 120, "redis": 3600}],
    )


@router.delete("/{id}/data", summary="Erase what is kept of a session", responses=problems(401, 403, 404, 503))
async def erase(id: str, live: Running) -> Erased:
    """Erase the session's history, newest picture and last event in memory, and its events in each sink.

    The session may have been closed, also by an earlier run of the service. A session that runs goes on, and what comes
    after the erasure is kept anew. What subscribers and exports took before is theirs to erase.
    """
    if not NAME.fullmatch(id):  # it may mean something else to a sink than a session's name
        raise _nothing_of(id)
    erased = {keeper.name: await keeper.erase(id) for keeper in live.keepers}
    known, rows = await asyncio.to_thread(_erase_memory, live, id)
    live.hub.erase(id)
    if not known and not any(erased.values()):
        raise _nothing_of(id)
    erased["history"] = rows
    audit.write("erase", id, **erased)
    return Erased(session=id, erased=erased)


def _nothing_of(name: str) -> UnknownSession:
    return UnknownSession(
        f"nothing is kept of a session called {name[:80]!r}; GET /v1/sessions lists those that are open"
    )


def _erase_memory(live: Live, name: str) -> tuple[bool, int]:
    """Return whether there is a session of that name, and how many rows of its history were erased."""
    try:
        return True, live.sessions.get(name).erase()
    except UnknownSession:
        return False, 0
