"""Routes of sessions: open a source on the server's side, list with live figures, close, start the baseline anew."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.events import StateName
from service.figures import Figures
from service.web.allowed_sources import check_source
from service.web.live import Running, Watched
from service.web.problem import problems

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class SessionRequest(BaseModel):
    """Say what to open, and under which name."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(min_length=1, max_length=2048, description="Such as demo: or camera:0", examples=["demo:"])
    name: str | None = Field(None, description="1 to 64 letters, digits, _ or -; one is made up without it")
    purpose: str | None = Field(None, max_length=200, description="What it is measured for, as told to those measured")


class SessionInfo(BaseModel):
    """Describe one session."""

    id: str
    source: str = Field(description="Credentials are masked")
    state: StateName
    detail: str = Field(description="A sentence about the last change of state")
    purpose: str | None
    incarnation: int = Field(description="Counts from 1; grows when the session is opened anew under its name")
    figures: Figures


class SessionList(BaseModel):
    """List sessions in the order of opening."""

    sessions: list[SessionInfo]


def info_of(session: Watched) -> SessionInfo:
    """Return `session` as the API describes it."""
    return SessionInfo(
        id=session.name,
        source=session.label,
        state=session.state.value,
        detail=session.detail,
        purpose=session.purpose,
        incarnation=session.incarnation,
        figures=session.figures(),
    )


# These are plain functions, so that opening and closing run in a thread and do not hold up the event loop.


@router.post("", status_code=201, summary="Open a source", responses=problems(400, 401, 403, 409, 413, 422, 429, 503))
def open_session(wanted: SessionRequest, request: Request, response: Response, live: Running) -> SessionInfo:
    """Open a source on the server's side, if the operator allows it (`allowed_sources`)."""
    check_source(wanted.source, live.settings.allowed_sources)
    session = live.sessions.open(wanted.source, wanted.name, purpose=wanted.purpose)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/v1/sessions/{session.name}"
    return info_of(session)


@router.head("", include_in_schema=False)
@router.get("", summary="List the sessions", responses=problems(401, 403))
def list_sessions(live: Running) -> SessionList:
    """List all sessions with their live figures; one that has ended stays until its name is used again."""
    return SessionList(sessions=[info_of(session) for session in live.sessions.list()])


@router.head("/{id}", include_in_schema=False)
@router.get("/{id}", summary="One session", responses=problems(401, 403, 404))
def get_session(id: str, live: Running) -> SessionInfo:
    """Return a session with its live figures."""
    return info_of(live.sessions.get(id))


@router.delete("/{id}", status_code=204, summary="Close a session", responses=problems(401, 403, 404))
def close_session(id: str, live: Running) -> None:
    """End the session and remove it; its subscribers get the event `ended`."""
    live.sessions.close(id)


@router.post(
    "/{id}/baseline", status_code=204, summary="Start the baseline anew", responses=problems(401, 403, 404, 503)
)
def reset_baseline(id: str, live: Running) -> None:
    """Start the neutral baseline anew with the next frame: `from_baseline` is null until it has settled."""
    live.sessions.get(id).reset_baseline()
