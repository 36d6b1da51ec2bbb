"""How the API says what went wrong: a status of 4xx and one sentence."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from engines.errors import UserError
from service.register import NameTaken, TooMany, UnknownSession
from service.web.allowed_sources import SourceNotAllowed

STATUS: dict[type[UserError], int] = {SourceNotAllowed: 403, UnknownSession: 404, NameTaken: 409, TooMany: 429}

_MEANINGS = {
    400: "The source or name cannot be used",
    401: "The token is missing or wrong",
    403: "Not from this host, web page or source",
    404: "No such session",
    409: "The name is taken",
    413: "The body is too large",
    422: "The request is malformed",
    429: "As many are open as this server allows",
    503: "Not ready",
}


class Problem(BaseModel):
    """What went wrong, with the value, and what to do next."""

    detail: str = Field(examples=["no session is called 'desk'; GET /v1/sessions lists them"])


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer these."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


async def answer_user_error(request: Request, error: Exception) -> JSONResponse:
    """The sentence of a `UserError` with the status of its kind, 400 where it has none of its own."""
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 400)
    return JSONResponse({"detail": str(error)}, status)


async def answer_malformed(request: Request, error: Exception) -> JSONResponse:
    """The first thing wrong with a request. The value is left out: it may hold credentials."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # A number is a place in the text of a body that is no JSON.
    place = ".".join(part for part in first["loc"][1:] if isinstance(part, str)) or "the body"
    return JSONResponse({"detail": f"{place}: {first['msg']}; see /openapi.json"}, 422)
