"""What pages of the allowed origins may read (CORS): every answer, early refusals among them.

Preflights are answered behind the check of `Host` and `Origin`; the headers of all other answers are added around every
guard, because a browser hides an answer without them from the page, and the reason of a refusal with it.
"""

from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


def _options(origins: Sequence[str]) -> dict[str, Any]:
    return {
        "allow_origins": [origin.rstrip("/") for origin in origins],
        "allow_methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
        "allow_credentials": True,
        "allow_headers": ["Authorization", "Content-Type", "If-Match"],
        "expose_headers": ["Location", "ETag", "Link", "Accept-Patch", "Retry-After"],
    }


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


class Preflights(CORSMiddleware):
    """Answer preflights, and pass everything else on as it is."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """Answer for `app` to pages of `origins`."""
        super().__init__(app, **_options(origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or pass the request on."""
        if scope["type"] == "http" and _is_preflight(scope, Headers(scope=scope)):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class ReadableAnswers(CORSMiddleware):
    """Let pages of the allowed origins read every answer but those to preflights, which are complete."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """Add the headers to answers of `app` to pages of `origins`."""
        super().__init__(app, **_options(origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add the headers to its answer where its page may read it."""
        headers = Headers(scope=scope) if scope["type"] == "http" else None
        if headers is None or _is_preflight(scope, headers) or not self.is_allowed_origin(headers.get("origin", "")):
            await self.app(scope, receive, send)
        else:
            await self.simple_response(scope, receive, send, request_headers=headers)


def readable_by(origins: Sequence[str], origin: str) -> dict[str, str]:
    """Return the headers that let a page of `origin` read an answer that is sent below the application.

    There are none where `origin` is not one of the allowed `origins`.
    """
    cors = CORSMiddleware(_nothing, **_options(origins))
    if not cors.is_allowed_origin(origin):
        return {}
    headers = MutableHeaders(cors.simple_headers)
    cors.allow_explicit_origin(headers, origin)
    return dict(headers)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Send no answer; stand in for the application where only its headers are computed."""
