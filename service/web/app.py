"""The web application: its routes, what guards them, and what lives as long as it does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engines.errors import UserError
from service.capture.sdp import ice_servers
from service.settings import Settings
from service.web.body_limit import BodyLimit
from service.web.guard import OriginGuard, TokenGuard
from service.web.headers import SecurityHeaders
from service.web.live import Live, RuntimeFactory, SessionsFactory, SinksFactory, load, redis, registry, start
from service.web.openapi import describe
from service.web.problem import answer_malformed, answer_user_error
from service.web.routes import history as routes_history
from service.web.routes import preview as routes_preview
from service.web.routes import service as routes_service
from service.web.routes import sessions as routes_sessions
from service.web.routes import stream as websocket
from service.web.routes import whip
from service.web.routes.pages import pages


def create_app(
    settings: Settings,
    *,
    runtime_factory: RuntimeFactory = load,
    sessions_factory: SessionsFactory = registry,
    sinks_factory: SinksFactory = redis,
    routers: Sequence[APIRouter] = (),
) -> FastAPI:
    """The application; nothing is opened or compiled before its lifespan begins. `routers` are asked before its own.

    `app.state` holds `settings` and, while it runs, `live`, `hub` and `sessions`. A start that fails with a `UserError`
    leaves it in `app.state.failure`. `drain(app)` ends everything ahead of the server's own shutdown.
    Raises `UserError` for a malformed Redis URL, ICE server or allowed origin.
    """
    if settings.redis is not None:
        from service.publish.redis_sink import check_url

        check_url(settings.redis.get_secret_value())
    ice_servers(settings.ice_servers)  # complains now of one that is none

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
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    app.state.settings = settings
    app.state.failure = None
    app.add_exception_handler(UserError, answer_user_error)
    app.add_exception_handler(RequestValidationError, answer_malformed)
    rooms = (routes_sessions, routes_history, routes_preview, routes_service, websocket, whip)
    for router in [*routers, *(room.router for room in rooms), pages(settings)]:
        app.include_router(router)

    # The last one added is the first one asked.
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
    app.add_middleware(_SaysWhyItFailed, state=app.state)
    OriginGuard(app, settings)  # complains now of an allowed origin that is none
    return app


async def drain(app: FastAPI) -> None:
    """Ends sessions, subscribers and sinks, in this order, within 4 s. A server calls it when told to stop, before it
    closes connections, so that subscribers get their last events and endless answers end.
    """
    live: Live | None = getattr(app.state, "live", None)
    if live is not None:
        await live.stop()


class _SaysWhyItFailed:
    """A start that fails for a reason the user can mend is no traceback: it is kept in `state.failure`."""

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
