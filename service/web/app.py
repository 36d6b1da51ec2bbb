"""The web application: its routes, what guards them, and what lives as long as it does."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import UserError
from service.capture.sdp import ice_servers
from service.settings import Settings
from service.web.body_limit import BodyLimit
from service.web.guard import OriginGuard, TokenGuard
from service.web.headers import SecurityHeaders
from service.web.live import Live, RuntimeFactory, SessionsFactory, SinksFactory, load, redis, registry, start
from service.web.openapi import describe
from service.web.problem import answer_http_error, answer_malformed, answer_nobody, answer_user_error
from service.web.routes import history as routes_history
from service.web.routes import preview as routes_preview
from service.web.routes import service as routes_service
from service.web.routes import sessions as routes_sessions
from service.web.routes import stream as websocket
from service.web.routes import whip
from service.web.routes.pages import pages

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")  # no "//", which browsers take for another host


def create_app(
    settings: Settings,
    *,
    runtime_factory: RuntimeFactory = load,
    sessions_factory: SessionsFactory = registry,
    sinks_factory: SinksFactory = redis,
    routers: Sequence[APIRouter] = (),
) -> FastAPI:
    """Return the application, which opens and compiles nothing before its lifespan begins.

    Routes of `routers` take precedence over its own. `app.state` holds `settings` and, while it runs, `live`, `hub` and
    `sessions`; a start that fails with a `UserError` leaves it in `app.state.failure`. `drain(app)` ends everything
    before the server's own shutdown. Raise `UserError` for a malformed Redis URL, ICE server or allowed origin.
    """
    if settings.redis is not None:
        from service.publish.redis_sink import check_url

        check_url(settings.redis.get_secret_value())
    ice_servers(settings.ice_servers)  # raises now for one that is malformed

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        live = await start(settings, runtime_factory, sessions_factory, sinks_factory)
        app.state.live, app.state.hub, app.state.sessions = live, live.hub, live.sessions
        try:
            yield
        finally:
            await live.stop()

    app = FastAPI(
        title="Affectstream",
        version=version("affectstream"),
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads scripts from another site
        redoc_url=None,
    )
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    app.state.settings = settings
    app.state.failure = None
    app.add_exception_handler(UserError, answer_user_error)
    app.add_exception_handler(RequestValidationError, answer_malformed)
    app.add_exception_handler(ClientDisconnect, answer_nobody)
    app.add_exception_handler(HTTPException, answer_http_error)
    rooms = (routes_sessions, routes_history, routes_preview, routes_service, websocket, whip)
    for router in [*routers, *(room.router for room in rooms), pages(settings)]:
        app.include_router(router)

    # The last one added sees a request first.
    app.add_middleware(BodyLimit, limit=settings.max_request_bytes)
    app.add_middleware(TokenGuard, settings=settings)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.rstrip("/") for origin in settings.allowed_origins],
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match"],
            expose_headers=["Location", "ETag", "Link", "Accept-Patch"],
        )
    app.add_middleware(OriginGuard, settings=settings)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(_Prefix)
    app.add_middleware(_KeepFailure, state=app.state)
    OriginGuard(app, settings)  # raises now for an allowed origin that is malformed
    return app


async def drain(app: FastAPI) -> None:
    """End sessions, subscribers and sinks, in this order, within 3 s.

    A server calls it before it closes connections, so that subscribers get their last events and endless answers end.
    """
    live: Live | None = getattr(app.state, "live", None)
    if live is not None:
        await live.stop()


class _Prefix:
    """Take the path prefix under which a reverse proxy serves this from `X-Forwarded-Prefix`, for `Location` headers.

    The proxy has removed the prefix from the path. A client that sends the header itself changes its own answers only.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            prefix = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
            if _PREFIX.fullmatch(prefix):
                scope = {**scope, "root_path": prefix}
        await self.app(scope, receive, send)


class _KeepFailure:
    """Keep the `UserError` of a failed start in `state.failure`, so that no traceback is logged for it."""

    def __init__(self, app: ASGIApp, state: object) -> None:
        self.app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        failures: list[Message] = []

        async def hold_back(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                failures.append(message)  # its text is a traceback
            else:
                await send(message)

        try:
            await self.app(scope, receive, hold_back)
        except UserError as error:
            self._state.failure = error  # type: ignore[attr-defined]
            await send({"type": "lifespan.startup.failed", "message": ""})
        except BaseException:
            for message in failures:
                await send(message)
            raise
