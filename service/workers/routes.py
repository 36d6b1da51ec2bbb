"""What a worker answers besides the routes of the service: sources are opened unasked, for the service in front has
asked (`service.workers.fleet`).
"""

from fastapi import APIRouter
from pydantic import BaseModel

from service.web.live import Running
from service.web.routes.sessions import SessionInfo, info_of

router = APIRouter(include_in_schema=False)


class Opening(BaseModel):
    """A source, and the session to run on it."""

    source: str
    name: str
    purpose: str | None


@router.post("/worker/sessions", status_code=201)
def open_session(opening: Opening, live: Running) -> SessionInfo:
    """Opens it, whatever the operator allows others to open."""
    return info_of(live.sessions.open(opening.source, opening.name, purpose=opening.purpose))
