"""`POST /v1/tickets`: a ticket for one WebSocket or preview, for pages that cannot send the token with it."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.web.access import ROLE
from service.web.problem import problems
from service.web.tickets import LIFETIME, Tickets

router = APIRouter(prefix="/v1/tickets", tags=["stream"])


class Ticket(BaseModel):
    """Give a ticket and how long it is good for."""

    ticket: str = Field(description="For the query of WS /v1/stream or GET /v1/sessions/{id}/preview, once")
    expires_s: float = Field(description="Seconds until it expires unused")


@router.post("", status_code=201, summary="Get a ticket", responses=problems(401, 403, 429))
async def give_ticket(request: Request) -> Ticket:
    """Return a ticket that opens one WebSocket or one preview, in place of the token, as `?ticket=...`.

    It carries the role of the token that it was asked for with.
    """
    tickets: Tickets = request.app.state.tickets
    return Ticket(ticket=tickets.give(request.scope[ROLE]), expires_s=LIFETIME)
