"""`GET /v1/access`: what the token of a request may do, for pages that offer no more than that."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.roles import RoleName
from service.web.access import OWN_SESSIONS, ROLE
from service.web.problem import problems

router = APIRouter(prefix="/v1/access", tags=["service"])


class Access(BaseModel):
    """Say what a token may do."""

    role: RoleName = Field(description="The token's role: manage where no token is asked for")
    own: list[str] = Field(
        description="Names of the sessions that the token opened by WHIP, which the role send may change too"
    )


@router.head("", include_in_schema=False)
@router.get("", summary="Ask what the token may do", responses=problems(401, 403))
async def tell_access(request: Request) -> Access:
    """Return the role of the token that this request was sent with, and the sessions that are its own."""
    return Access(role=request.scope[ROLE].label, own=request.scope[OWN_SESSIONS]())
