"""The API's error answers: a status, a code and one sentence."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from models.errors import UserError
from service.capture.allowed_sources import SourceNotAllowed
from service.purpose import PurposeForbidden, PurposeNeeded
from service.register import NameTaken, SessionOver, TooMany, Unavailable, UnknownSession
from service.rules import RuleNameTaken, UnusableRule, ValueNotGiven
from service.session_options import NotOffered
from service.web.problem_details import MEDIA_TYPE, details

STATUS: dict[type[UserError], int] = {
    RuleNameTaken: 400, ValueNotGiven: 400, UnusableRule: 400, PurposeForbidden: 403, SourceNotAllowed: 403,
    UnknownSession: 404, NameTaken: 409, SessionOver: 409, PurposeNeeded: 422, NotOffered: 422, TooMany: 429,
    Unavailable: 503,
}  # fmt: skip

_MEANINGS = {
    400: "The source, name, time or rule cannot be used",
    401: "The token is missing or wrong",
    403: "Not from this host, web page or source, not for this purpose, or not with this token's role",
    404: "No such session",
    409: "The name is taken, or the session has ended",
    413: "The body is too large",
    422: "The request is malformed, a purpose is missing, or an option is not to be had here",
    429: "As many are open, or were tried within a minute, as this server allows",
    503: "As many connections are open as this server allows, or a worker or store that is needed does not answer",
}
_LATER = 5  # s after which to try again what the service cannot do now
_RETRY_AFTER = {"Retry-After": {"description": "Seconds after which to try again", "schema": {"type": "integer"}}}

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Problem(BaseModel):
    """Say what went wrong, as problem details (RFC 9457)."""

    type: str = Field(description="about:blank: the title is the meaning of the HTTP status")
    title: str = Field(description="The phrase of the HTTP status", examples=["Not Found"])
    status: int = Field(description="The HTTP status")
    code: str = Field(
        description="What is wrong, for programs: a kind such as name_taken, else the status's phrase",
        examples=["unknown_session"],
    )
    detail: str = Field(
        description="What is wrong, with the value, and what to do next",
        examples=["no session is called 'desk'; GET /v1/sessions lists them"],
    )


def answer_problem(
    status: int, sentence: str, kind: type[UserError] | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error answer; `kind` gives its code (`service.web.problem_details`)."""
    return JSONResponse(details(status, sentence, kind), status, headers, MEDIA_TYPE)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI `responses` of a route that can answer with these statuses."""
    answers: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses
    }
    if 503 in answers:
        answers[503]["headers"] = _RETRY_AFTER
    return answers


async def answer_user_error(request: Request, error: Exception) -> JSONResponse:
    """Answer with the sentence of a `UserError` and the status of its kind, 400 where it has none of its own."""
    kind = next((kind for kind in STATUS if isinstance(error, kind)), None)
    status = STATUS[kind] if kind is not None else 400
    return answer_problem(status, str(error), kind, {"retry-after": str(_LATER)} if status == 503 else None)


async def answer_malformed(request: Request, error: Exception) -> JSONResponse:
    """Answer with the first thing wrong with a request, without the value, which may hold credentials."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # A number is a position in a body that is not JSON.
    place = ".".join(part for part in first["loc"][1:] if isinstance(part, str)) or "the body"
    return answer_problem(422, f"{place}: {first['msg']}; see /openapi.json")


async def answer_nobody(request: Request, error: Exception) -> Response:
    """End the handling of a request whose client has gone in the middle of it; nobody gets this answer."""
    return Response(status_code=400)


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer with the error's sentence and headers; 405 with all methods of the path in `Allow`.

    Several routes may share a path.
    """
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = [method for method in _METHODS if _takes(request, method)]
        error = HTTPException(405, error.detail, {"Allow": ", ".join(allowed)})
    return answer_problem(error.status_code, str(error.detail), headers=error.headers)


def _takes(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
