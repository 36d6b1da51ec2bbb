"""The report on a session as a page to keep: `GET /v1/sessions/{id}/report`."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from service import audit
from service.report.session_report import report
from service.web.live import Running
from service.web.problem import problems

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.head("/{id}/report", include_in_schema=False)
@router.get(
    "/{id}/report",
    summary="Report on a session",
    response_class=HTMLResponse,
    responses=problems(401, 403, 404, 503),
)
def session_report(id: str, live: Running) -> HTMLResponse:
    """Return one HTML page to keep, without scripts and without network: curves, expressions, units and markers.

    It is drawn from the session's history, one reading a second of the largest face; nothing of it stays on a disk.
    """
    past = live.sessions.get(id).history(-1.0, 1)
    page = report(id, past, trained=not live.settings.untrained)
    audit.write("export", id, form="report")
    return HTMLResponse(page, headers={"content-disposition": f'attachment; filename="affect-{id}.html"'})
