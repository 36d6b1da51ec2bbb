"""What a session showed before its viewer came: `GET /v1/sessions/{id}/history`."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service.events import Alert, Marker
from service.history import COLUMNS, STEP
from service.web.live import Running
from service.web.problem import problems

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class PastAlert(Alert):
    """Describe an alert, and when it was reported."""

    t: float = Field(description="Seconds on the session's clock of the alert's event")


class HistoryRows(BaseModel):
    """Describe a session's past, a row for each step of time."""

    session: str = Field(description="Name of the session")
    resolution: float = Field(description="Seconds between two rows")
    columns: list[str] = Field(description="What the values of a row are, in order; t is in seconds of the session")
    rows: list[list[float | None]] = Field(description="Oldest first; null where nothing was read")
    markers: list[Marker] = Field(description="Moments that were marked, oldest first")
    alerts: list[PastAlert] = Field(description="What rules reported, oldest first")


@router.head("/{id}/history", include_in_schema=False)
@router.get("/{id}/history", summary="What a session showed so far", responses=problems(401, 403, 404, 422, 503))
def history(
    id: str,
    live: Running,
    since: Annotated[float, Query(allow_inf_nan=False, description="Rows after this second of the session")] = -1.0,
    resolution: Annotated[int, Query(ge=1, le=3600, description="Seconds between two rows")] = 1,
) -> HistoryRows:
    """Return the largest face's values at each second, of the last six hours at most, with markers and alerts.

    Nothing of it is on a disk.
    """
    past = live.sessions.get(id).history(since, resolution)
    return HistoryRows(
        session=id,
        resolution=resolution * STEP,
        columns=list(COLUMNS),
        rows=past.rows,
        markers=[Marker.model_validate(marker) for marker in past.markers],
        alerts=[PastAlert.model_validate(alert) for alert in past.alerts],
    )
