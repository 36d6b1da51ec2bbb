"""Mark a moment of a session, such as the begin of a stimulus: `POST /v1/sessions/{id}/markers`."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service.events import MARKER_LENGTH, Marker
from service.web.live import Running
from service.web.problem import problems
from service.web.strict_json import StrictJsonRoute

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=StrictJsonRoute)


class MarkerRequest(BaseModel):
    """Say what happened, and when: in seconds of the session, by the wall clock, or now without both."""

    model_config = ConfigDict(extra="forbid")

    label: Annotated[
        str, Field(min_length=1, max_length=MARKER_LENGTH, description="What happened", examples=["stimulus_1"])
    ]
    t: float | None = Field(None, allow_inf_nan=False, description="Seconds on the session's clock", examples=[12.5])
    at: AwareDatetime | None = Field(None, description="Or the wall clock, ISO 8601 with its time zone")


# A plain function: with workers it waits for the session's worker, and runs in a thread.


@router.post(
    "/{id}/markers",
    status_code=201,
    summary="Mark a moment",
    responses=problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
)
def mark(id: str, wanted: MarkerRequest, live: Running) -> Marker:
    """Mark a moment of the session: the marker is an event of its stream, and is kept in its history.

    A time before the session or in the future is refused (400), as is a session that has ended or shown nothing yet
    (409). Ten markers a second are taken, and fifty at once (429).
    """
    return Marker.model_validate(live.sessions.get(id).mark(wanted.label, t=wanted.t, at=wanted.at))
