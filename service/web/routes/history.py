"""What a session showed before its viewer came: `GET /v1/sessions/{id}/history`."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service.history import COLUMNS, STEP
from service.web.live import Running
from service.web.problem import problems

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class HistoryRows(BaseModel):
    """Describe a session's past, a row for each step of time."""

    session: str = Field(description="Name of the session")
    resolution: float = Field(description="Seconds between two rows")
    columns: list[str] = Field(description="What the values of a row are, in order; t is in seconds of the session")
    rows: list[list[float | None]] = Field(description="Oldest first; null where nothing was read")


@router.head("/{id}/history", include_in_schema=False)
@router.get("/{id}/history", summary="What a session showed so far", responses=problems(401, 403, 404, 422, 503))
def history(
    id: str,
    live: Running,
    since: Annotated[float, Query(description="Rows after this second of the session only")] = -1.0,
    resolution: Annotated[int, Query(ge=1, le=3600, description="Seconds between two rows")] = 1,
) -> HistoryRows:
    """Return the largest face's values at each second, of the last six hours at most. Nothing of it is on a disk."""
    rows = live.sessions.get(id).history(since, resolution)
    return HistoryRows(session=id, resolution=resolution * STEP, columns=list(COLUMNS), rows=rows)
