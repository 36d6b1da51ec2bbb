"""Sessions over HTTP: open a source on the server's side, list with live figures, close, start the baseline anew."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from service.events import StateName
from service.figures import Figures
from service.web.allowed_sources import check_source
from service.web.live import Running, Watched
from service.web.problem import problems

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class SessionRequest(BaseModel):
    """What to open."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(min_length=1, max_length=2048, description="Such as demo: or camera:0", examples=["demo:"])
    name: str | None = Field(None, description="1 to 64 letters, digits, _ or -; one is made up without it")
    purpose: str | None = Field(None, max_length=200, description="What it is measured for, as told to those measured")


class SessionInfo(BaseModel):
    """One session."""

    id: str
    source: str = Field(description="Credentials are masked")
    state: StateName
    detail: str = Field(description="A sentence about the last change of state")
    purpose: str | None
    figures: Figures


class SessionList(BaseModel):
    """In the order of opening."""

    sessions: list[SessionInfo]


def info_of(session: Watched) -> SessionInfo:
    """Return `session` as the API describes it."""
    return SessionInfo(
        id=session.name,
        source=session.label,
        state=session.state.value,
        detail=session.detail,
        purpose=session.purpose,
        figures=session.figures(),
    )


# Plain functions, so that opening and closing run in a thread and the loop goes on moving events.


@router.post("", status_code=201, summary="Open a source", responses=problems(400, 401, 403, 409, 413, 422, 429))
def open_session(request: SessionRequest, response: Response, live: Running) -> SessionInfo:
    """Opens a source on the server's side, if the operator allows it (`allowed_sources`)."""
    check_source(request.source, live.settings.allowed_sources)
    session = live.sessions.open(request.source, request.name, purpose=request.purpose)
    response.headers["Location"] = f"/v1/sessions/{session.name}"
    return info_of(session)


@router.get("", summary="List the sessions", responses=problems(401, 403))
def list_sessions(live: Running) -> SessionList:
    """All sessions with their live figures, those that have ended too until their name is used again."""
    return SessionList(sessions=[info_of(session) for session in live.sessions.list()])


@router.get("/{id}", summary="One session", responses=problems(401, 403, 404))
def get_session(id: str, live: Running) -> SessionInfo:
    """A session with its live figures."""
    return info_of(live.sessions.get(id))


@router.delete("/{id}", status_code=204, summary="Close a session", responses=problems(401, 403, 404))
def close_session(id: str, live: Running) -> None:
    """Ends the session and forgets it; its subscribers get the event `ended`."""
    live.sessions.close(id)


@router.post("/{id}/baseline", status_code=204, summary="Start the baseline anew", responses=problems(401, 403, 404))
def reset_baseline(id: str, live: Running) -> None:
    """Starts the neutral baseline anew with the next frame: `from_baseline` is null until it has settled."""
    live.sessions.get(id).reset_baseline()
