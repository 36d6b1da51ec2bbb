"""The API's error answers: a status and one sentence."""

from typing import Any

from fastapi import Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from models.errors import UserError
from service.register import NameTaken, TooMany, Unavailable, UnknownSession
from service.web.allowed_sources import SourceNotAllowed

STATUS: dict[type[UserError], int] = {
    SourceNotAllowed: 403, UnknownSession: 404, NameTaken: 409, TooMany: 429, Unavailable: 503,
}  # fmt: skip

_MEANINGS = {
    400: "The source or name cannot be used",
    401: "The token is missing or wrong",
    403: "Not from this host, web page or source",
    404: "No such session",
    409: "The name is taken",
    413: "The body is too large",
    422: "The request is malformed",
    429: "As many are open, or were tried within a minute, as this server allows",
    503: "The part of the service that is needed does not answer now",
}


_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Problem(BaseModel):
    """Say what went wrong, with the value, and what to do next."""

    detail: str = Field(examples=["no session is called 'desk'; GET /v1/sessions lists them"])


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI `responses` of a route that can answer with these statuses."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


async def answer_user_error(request: Request, error: Exception) -> JSONResponse:
    """Answer with the sentence of a `UserError` and the status of its kind, 400 where it has none of its own."""
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 400)
    return JSONResponse({"detail": str(error)}, status)


async def answer_malformed(request: Request, error: Exception) -> JSONResponse:
    """Answer with the first thing wrong with a request, without the value, which may hold credentials."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # A number is a position in a body that is not JSON.
    place = ".".join(part for part in first["loc"][1:] if isinstance(part, str)) or "the body"
    return JSONResponse({"detail": f"{place}: {first['msg']}; see /openapi.json"}, 422)


async def answer_nobody(request: Request, error: Exception) -> Response:
    """End the handling of a request whose client has gone in the middle of it; nobody gets this answer."""
    return Response(status_code=400)


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer as FastAPI does; 405 with all methods of the path, which several routes may share, in `Allow`."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = [method for method in _METHODS if _takes(request, method)]
        error = HTTPException(405, error.detail, {"Allow": ", ".join(allowed)})
    return await http_exception_handler(request, error)


def _takes(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
