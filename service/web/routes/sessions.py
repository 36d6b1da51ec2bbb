"""Routes of sessions: open a source on the server's side, list with live figures, close, start the baseline anew."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service import audit, tracing
from service.capture.allowed_sources import check_source
from service.events import StateName
from service.neutral import NeutralStep
from service.purpose import PURPOSES
from service.session_figures import SessionFigures
from service.session_options import RequestedOptions
from service.settings import Smoothing
from service.web.live import Running, Watched
from service.web.problem import problems
from service.web.strict_json import StrictJsonRoute

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=StrictJsonRoute)


class SessionRequest(RequestedOptions):
    """Say what to open, under which name, and how it is to be read."""

    source: str = Field(min_length=1, max_length=2048, description="Such as demo: or camera:0", examples=["demo:"])
    # The register refuses other names with a sentence; the pattern is for those who read the schema.
    name: str | None = Field(
        None, description="1 to 64 letters, digits, _ or -; one is made up without it",
        json_schema_extra={"anyOf": [{"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, {"type": "null"}]},
    )  # fmt: skip
    purpose: str | None = Field(
        None, max_length=300, description=f"{', '.join(PURPOSES)}: and what it is; the server's without one",
        examples=["research", "other: a rehearsal"],
    )  # fmt: skip


class SessionInfo(BaseModel):
    """Describe one session."""

    id: str
    source: str = Field(description="Credentials are masked")
    state: StateName
    detail: str = Field(description="A sentence about the last change of state")
    purpose: str | None = Field(description="What it is for; null for the demo")
    model: str = Field(description="Model that reads the faces")
    voice: bool | None = Field(
        description="Whether the voice is read too; null: the model takes sound by itself, or none at all"
    )
    smoothing: Smoothing = Field(description="How strongly valence, arousal and expressions are smoothed")
    rate: float | None = Field(description="Events a second at most; null: one for each picture")
    incarnation: int = Field(description="Counts from 1; grows when the session is opened anew under its name")
    node: str | None = Field(description="Node of the cluster that reads it; null without a cluster")
    figures: SessionFigures


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
        model=session.options.model,
        voice=session.options.voice,
        smoothing=session.options.smoothing,
        rate=session.options.rate,
        incarnation=session.incarnation,
        node=session.node,
        figures=session.figures(),
    )


# These are plain functions, so that opening and closing run in a thread and do not hold up the event loop.


@router.post("", status_code=201, summary="Open a source", responses=problems(400, 401, 403, 409, 413, 422, 429, 503))
def open_session(wanted: SessionRequest, request: Request, response: Response, live: Running) -> SessionInfo:
    """Open a source on the server's side, if the operator allows it (`allowed_sources`).

    All but the demo need a purpose, here or as the server's (`--purpose`); one that the law forbids is refused (403).
    A model that is not in memory yet is loaded first, which takes seconds; other sessions go on meanwhile.
    """
    check_source(wanted.source, live.settings.allowed_sources)
    with tracing.span("open session", **{"affectstream.source": audit.kind_of(wanted.source)}):
        session = live.sessions.open(
            wanted.source, wanted.name, purpose=wanted.purpose, allowed=live.settings.allowed_sources, asked=wanted
        )
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
    """Start the running neutral baseline anew with the next frame, and end or forget a neutral step.

    `from_baseline` is null until the model has found the face neutral for 3 s (`faces.baseline`).
    """
    live.sessions.get(id).reset_baseline()


@router.post(
    "/{id}/neutral",
    status_code=202,
    summary="Have the people in view look neutral for 10 s",
    responses=problems(401, 403, 404, 409, 503),
)
def begin_neutral_step(id: str, live: Running) -> NeutralStep:
    """Begin the neutral step: from the next frame on, everybody in view is to look neutral for 10 s.

    Ask them to before the call. While it runs, the events of pictures have `neutral` with state `running` and the
    seconds that are left; the event in which it ends has the result, which also stays in the session's figures
    (`GET /v1/sessions/{id}`, `figures.neutral`). A face that was read for 5 s of it has the median of its valence and
    arousal as its baseline from then on (`faces.baseline.source` is `neutral_step`, and `from_baseline` is measured
    from it) for as long as its track lives, or until `POST /v1/sessions/{id}/baseline`; a face that comes later has the
    running baseline. `neutral_share` says how much of the time the model, too, found the face neutral: a low one means
    that the person showed something else, or that the model misreads this face at rest, which the step corrects.

    A call while a step runs begins it anew. A session that has ended is refused (409).
    """
    return live.sessions.get(id).begin_neutral_step()
